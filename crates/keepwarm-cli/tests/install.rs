//! `keepwarm completions` and `keepwarm man`, in the real shells and the real reader of pages.

mod common;

use std::fs;
use std::process::Command;

use common::{keepwarm, run};
use keepwarm_testkit::skipped;

/// The script of a shell, in a file of its own.
fn script(shell: &str) -> std::path::PathBuf {
    let folder = common::folder(&format!("completions-{}", std::process::id()));
    let path = folder.join(format!("_keepwarm.{shell}"));
    let script = run(keepwarm().args(["completions", shell]));
    fs::write(&path, &script.exits_with(0).stdout).expect("written");
    path
}

/// Returns the output of a program, or `None` if it is not installed.
fn tried(program: &str, arguments: &[&str]) -> Option<common::Output> {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        skipped::because(&format!("completions in {program}, which is not installed"));
        return None;
    }
    Some(run(Command::new(program).args(arguments)))
}

#[test]
fn bash_completes_commands_and_flags() {
    let path = script("bash");
    // The calls that bash makes when tab is pressed after the last word.
    let ask = |words: &str, index: usize| {
        format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={index}; \
             _keepwarm keepwarm \"${{COMP_WORDS[{index}]}}\" \"${{COMP_WORDS[{}]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            path.display(),
            index - 1
        )
    };
    let Some(commands) = tried("bash", &["-c", &ask("keepwarm me", 1)]) else { return };
    assert_eq!(commands.exits_with(0).stdout, "merge\n", "{}", commands.stderr);
    let flags = tried("bash", &["-c", &ask("keepwarm load --conn", 2)]).expect("bash again");
    assert!(flags.stdout.contains("--connect-rate\n"), "{}", flags.stdout);
}

#[test]
fn zsh_loads_completions_without_complaint() {
    let path = script("zsh");
    let load = format!(
        "autoload -Uz compinit && compinit -u -D && source {} && print -r -- $_comps[keepwarm] && \
         whence -w _keepwarm && print -rl -- ${{(f)\"$(functions _keepwarm_commands)\"}} | grep -c \"'merge:\"",
        path.display()
    );
    let Some(zsh) = tried("zsh", &["-f", "-c", &load]) else { return };
    assert_eq!(zsh.exits_with(0).stdout, "_keepwarm\n_keepwarm: function\n1\n", "{}", zsh.stderr);
    assert_eq!(zsh.stderr, "");
}

#[test]
fn fish_completes_commands_and_flags() {
    let path = script("fish");
    let ask = |line: &str| format!("source {}; complete -C '{line}'", path.display());
    let Some(commands) = tried("fish", &["-N", "-c", &ask("keepwarm me")]) else { return };
    assert!(commands.exits_with(0).stdout.starts_with("merge\t"), "{}", commands.stdout);
    let flags = tried("fish", &["-N", "-c", &ask("keepwarm load --conn")]).expect("fish again");
    assert!(flags.stdout.contains("--connect-rate"), "{}", flags.stdout);
}

#[test]
fn every_command_has_a_page() {
    let folder = common::folder(&format!("man-{}", std::process::id()));
    run(keepwarm().arg("man").arg(&folder)).exits_with(0);
    let names: Vec<String> = fs::read_dir(&folder)
        .expect("there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    for command in
        ["", "-load", "-watch", "-lab", "-report", "-merge", "-serve", "-explain", "-man"]
    {
        let name = format!("keepwarm{command}.1");
        assert!(names.contains(&name), "{name} is not among {names:?}");
        let page = folder.join(&name);
        let path = page.to_str().expect("plain");
        let Some(read) = tried("man", &["--warnings", "-l", path]) else { return };
        assert!(read.exits_with(0).stdout.contains("NAME"), "{}", read.stdout);
        assert_eq!(read.stderr, "", "{name}");
    }
    fs::remove_dir_all(folder).expect("removable");
    run(keepwarm().args(["man", "/dev/null/here"]))
        .exits_with(9)
        .says("cannot write to /dev/null/here");
}
