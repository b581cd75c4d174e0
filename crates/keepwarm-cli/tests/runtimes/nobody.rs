//! User nobody, and what nobody may read of nobody's programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use keepwarm_testkit::skipped;

use crate::common::Service;
use crate::{Program, alone, assert_named, assert_runs_on, here, runs, version_of, watched_by};

/// Files that nobody may read; removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Folder {
        let folder = std::env::temp_dir().join(format!("keepwarm-own-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn copy(&self, file: &Path) -> PathBuf {
        let to = self.0.join(file.file_name().unwrap());
        std::fs::copy(file, &to).unwrap();
        to
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn as_nobody(program: &Path) -> Command {
    const NOBODY: &str = "65534";
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--bounding-set=-all"])
        .arg(program)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

#[test]
fn nobody_is_told_what_nobodys_own_programs_run_on_and_in_which_version() {
    if !runs(&mut as_nobody(Path::new("true"))) {
        skipped::because("this user may not become nobody");
        return;
    }
    let folder = Folder::make();
    let keepwarm = folder.copy(Path::new(env!("CARGO_BIN_EXE_keepwarm")));
    for (interpreter, file, habit) in
        [("php", "client.php", "handle-shared"), ("ruby", "client.rb", "started")]
    {
        let interpreter = Path::new(interpreter);
        if !runs(as_nobody(interpreter).arg("--version")) {
            skipped::because(&format!("no {} that nobody may run", interpreter.display()));
            continue;
        }
        let script = folder.copy(&here(file));
        if file == "client.php" && !runs(as_nobody(interpreter).arg(&script).arg("check")) {
            skipped::because("no PHP with curl (`php` in the PATH)");
            continue;
        }
        let _alone = alone();
        let service = Service::start(&["data"]);
        let mut running = None;
        let seen = watched_by(as_nobody(&keepwarm), "client", service.address, || {
            let mut client = as_nobody(interpreter);
            let mut client =
                Program::start(client.arg(script).args([habit, &service.url("/data")]));
            assert_eq!(client.line(), "done");
            running = Some(client);
        });
        assert_named(&seen, "healthy", "connections are kept");
        let name = interpreter.to_str().unwrap();
        assert_runs_on(&seen, name, &version_of(Command::new(interpreter).arg("--version")));
    }
}
