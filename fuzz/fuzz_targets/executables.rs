//! Traces of a runtime: an executable's tables and texts, the list of mapped files, the file `release` of a Java home.
#![no_main]
// The files are private to the tool: they are read here as they stand there.
#![allow(dead_code)]

#[path = "../../crates/keepwarm-cli/src/evidence/runtime/mod.rs"]
mod runtime;

#[path = "../../crates/keepwarm-cli/src/evidence/regular_file.rs"]
mod regular_file;

/// The folder that the files stand in.
mod evidence {
    pub(crate) use crate::regular_file;
}

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static HOME: PathBuf = {
        let home = std::env::temp_dir().join(format!("keepwarm-fuzz-java-{}", std::process::id()));
        fs::create_dir_all(&home).expect("a folder");
        home
    };
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = runtime::by_name("/nowhere", &text);
    let _ = runtime::by_libraries("/nowhere", &text);
    let arguments: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let _ = runtime::python_server(&arguments);
    HOME.with(|home| {
        let release = home.join("release");
        fs::write(&release, bytes).expect("written");
        let path = release.to_str().expect("plain");
        let _ = (runtime::elf::go_version(path), runtime::elf::rust_version(path));
        let _ = runtime::java_release("", home.to_str().expect("plain"));
    });
});
