//! The files of `keepwarm watch --print`, against the programs that they are for.

use std::path::PathBuf;
use std::process::Command;

use crate::common::{folder, keepwarm, run};
use crate::has;

/// Prints a file, and keeps it under a name.
pub(crate) fn printed(kind: &str, name: &str) -> PathBuf {
    let output = run(keepwarm().args(["watch", "--print", kind]));
    let path = folder(&format!("watch-print-{kind}")).join(name);
    std::fs::write(&path, &output.exits_with(0).stdout).unwrap();
    path
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn alerts_fire_as_tested_by_promtool() {
    if !has("promtool") {
        return;
    }
    let alerts = printed("alerts", "alerts.yml");
    succeeds(Command::new("promtool").args(["check", "rules"]).arg(&alerts));
    let tests = alerts.with_file_name("alerts_test.yml");
    std::fs::write(&tests, include_str!("alerts_test.yml")).unwrap();
    succeeds(Command::new("promtool").args(["test", "rules"]).arg(&tests));
}

#[test]
fn daemonset_is_valid_by_schema() {
    let validate = std::env::var("KEEPWARM_KUBERNETES_VALIDATE");
    let validate = validate.unwrap_or_else(|_| "kubernetes-validate".to_owned());
    if has(&validate) {
        let file = printed("daemonset", "daemonset.yaml");
        succeeds(Command::new(validate).arg("--strict").arg(file));
    }
}

#[test]
fn unit_is_valid_for_systemd() {
    if has("systemd-analyze") {
        let file = printed("unit", "keepwarm.service");
        // The program of a unit has to exist.
        let text = std::fs::read_to_string(&file).unwrap();
        let here = text.replace("/usr/bin/keepwarm", env!("CARGO_BIN_EXE_keepwarm"));
        assert_ne!(here, text);
        std::fs::write(&file, here).unwrap();
        succeeds(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(file));
    }
}

#[test]
fn printing_takes_no_other_argument() {
    run(keepwarm().args(["watch", "--print", "unit", "--once"])).exits_with(2);
    run(keepwarm().args(["watch", "--print", "grafana"])).exits_with(2).says("dashboard");
}
