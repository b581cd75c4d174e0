//! Text that starts workers elsewhere: valid by the schema or the parser of what reads it, and run
//! where the engine is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keepwarm_testkit::skipped;

use crate::common::*;
use crate::hosts::{Host, can_have_hosts, nginx_at};

/// Returns false, after a loud word, if a program is not there.
fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    let status = command.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_err() {
        skipped::because(&format!("no {program}"));
    }
    status.is_ok()
}

/// Prints a launcher, and writes it to a file of that name.
fn printed(launcher: &str, name: &str) -> PathBuf {
    let output = fleet().args(["print", launcher]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let path = scratch().join(name);
    std::fs::write(&path, output.stdout).unwrap();
    path
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {stdout}{}", said(&output));
    stdout
}

/// Replaces text that has to be there.
fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn job_is_valid_by_schema() {
    let validate = std::env::var("KEEPWARM_KUBERNETES_VALIDATE");
    let validate = validate.unwrap_or_else(|_| "kubernetes-validate".to_owned());
    if has(&validate) {
        let path = printed("k8s-job", "job.yaml");
        succeeds(Command::new(&validate).arg("--strict").arg(&path));
        change(&path, "completions: 4", "completion: 4");
        let refused = Command::new(validate).arg("--strict").arg(&path).output().unwrap();
        assert!(!refused.status.success(), "the check cannot fail");
    }
}

#[test]
fn compose_file_is_valid_by_schema() {
    if has("docker-compose") {
        let path = printed("compose", "compose.yaml");
        let compose = |path: &Path| {
            let mut command = Command::new("docker-compose");
            command.arg("--file").arg(path).arg("config");
            command
        };
        assert!(succeeds(&mut compose(&path)).contains("--nkey=/keys/worker.nk"));
        change(&path, "image: nats:2", "imago: nats:2");
        assert!(!compose(&path).output().unwrap().status.success(), "the check cannot fail");
    }
}

#[test]
fn unit_is_valid_for_systemd() {
    if has("systemd-analyze") {
        let path = printed("systemd", "keepwarm-worker.service");
        // The program of a unit has to exist.
        change(&path, "/usr/bin/keepwarm-fleet", &program().display().to_string());
        let mut command = Command::new("systemd-analyze");
        let output = command.args(["verify", "--man=no"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert!(!said(&output).contains("keepwarm-worker.service"), "{}", said(&output));
    }
}

/// The arguments that launchers give to a worker are those that it takes.
#[test]
fn arguments_of_launchers_are_known() {
    let help = fleet().args(["worker", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for launcher in ["k8s-job", "slurm", "systemd", "compose"] {
        let output = fleet().args(["print", launcher]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for word in lines.flat_map(|line| line.split([' ', '=', '"', ','])) {
            let is_ours = word.starts_with("--") && word != "--config" && word.len() > 2;
            assert!(!is_ours || help.contains(word), "{launcher}: {word}");
        }
    }
}

#[test]
fn batch_script_parses() {
    let path = printed("slurm", "worker.sh");
    succeeds(Command::new("bash").arg("-n").arg(&path));
}

/// Address of the one host of the test's Slurm; a loopback address alone is no address for it.
const ADDRESS: &str = "10.99.0.1";

/// Starts the daemons of a Slurm of one node on a host. Returns them, and the configuration.
fn slurm(host: &Host, directory: &Path) -> (Vec<Ends>, PathBuf) {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = name.trim().split('.').next().unwrap().to_owned();
    let place = directory.display();
    for folder in ["state", "spool"] {
        std::fs::create_dir_all(directory.join(folder)).unwrap();
    }
    let config = format!(
        "ClusterName=one\nSlurmctldHost={name}({ADDRESS})\nSlurmUser=root\nAuthType=auth/munge\n\
         AuthInfo=socket={place}/munge.sock\nCredType=cred/munge\nStateSaveLocation={place}/state\n\
         SlurmdSpoolDir={place}/spool\nSlurmctldPidFile={place}/slurmctld.pid\n\
         SlurmdPidFile={place}/slurmd.pid\nSlurmctldLogFile={place}/slurmctld.log\n\
         SlurmdLogFile={place}/slurmd.log\nProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/none\n\
         AccountingStorageType=accounting_storage/none\nSelectType=select/cons_tres\n\
         SlurmdParameters=config_overrides\nMpiDefault=none\nReturnToService=2\n\
         NodeName={name} NodeAddr={ADDRESS} CPUs=16\n\
         PartitionName=all Nodes={name} Default=YES State=UP\n"
    );
    let path = directory.join("slurm.conf");
    std::fs::write(&path, config).unwrap();
    let key = directory.join("munge.key");
    std::fs::write(&key, [7; 1024]).unwrap();
    succeeds(Command::new("chmod").arg("400").arg(&key));
    let start = |program: &str, arguments: &[String]| {
        let mut command = prefixed(&host.prefix(), Path::new(program));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ends(command.spawn().unwrap())
    };
    let own = |option: &str, file: &str| format!("--{option}={place}/{file}");
    let munge = ["--foreground".to_owned(), "--force".to_owned()].into_iter().chain([
        own("key-file", "munge.key"),
        own("socket", "munge.sock"),
        own("pid-file", "munge.pid"),
        own("log-file", "munge.log"),
        own("seed-file", "munge.seed"),
    ]);
    let munged = start("munged", &munge.collect::<Vec<_>>());
    let socket = directory.join("munge.sock");
    wait_for("socket of munged", || socket.exists().then_some(()));
    let config = path.display().to_string();
    let common = ["-D".to_owned(), "-f".to_owned(), config];
    let slurmctld = start("slurmctld", &common);
    let slurmd = start("slurmd", &[&common[..], &["-N".to_owned(), name]].concat());
    (vec![slurmd, slurmctld, munged], path)
}

/// The printed script, submitted to a real Slurm: its four tasks become the workers of a run.
#[test]
fn slurm_starts_four_workers() {
    if !can_have_hosts() || !has("sbatch") || !has("slurmctld") || !has("slurmd") || !has("munged")
    {
        return;
    }
    let mut host = Host::start(None, "sleep 600", &[]);
    host.output(&["ip", "link", "set", "lo", "up"]);
    host.output(&["ip", "addr", "add", &format!("{ADDRESS}/32"), "dev", "lo"]);
    host.go();
    let directory = scratch();
    let store = directory.join("js").display().to_string();
    let arguments = ["--jetstream", "--store_dir", &store];
    let nats = Nats::at(&nats_servers()[0], directory, &arguments, &host.prefix(), ADDRESS);
    let _nginx = nginx_at(&host, &nats.directory, &format!("{ADDRESS}:8080"));
    let (_daemons, config) = slurm(&host, &nats.directory);
    let command = |program: &str| {
        let mut command = prefixed(&host.prefix(), Path::new(program));
        command.env("SLURM_CONF", &config).current_dir(&nats.directory);
        command
    };
    wait_for("idle node", || {
        let output = command("sinfo").args(["-h", "-o", "%T"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("idle").then_some(())
    });
    let key = fleet().arg("key").arg(nats.directory.join("worker.nk")).output().unwrap();
    assert!(key.status.success(), "{}", said(&key));

    let script = printed("slurm", "worker.sh");
    change(&script, "tls://NATS_HOST:4222", &nats.url);
    change(&script, "$HOME", &nats.directory.display().to_string());
    change(&script, "10.0.0.0/8:80", "10.0.0.0/8:8080");
    change(&script, " \\\n    --coordinator COORDINATOR_KEY", "");
    let beside = program().parent().unwrap().display().to_string();
    let path = format!("{beside}:{}", std::env::var("PATH").unwrap_or_default());
    let log = nats.directory.join("job.out");
    succeeds(command("sbatch").arg("--output").arg(&log).arg(&script).env("PATH", path));
    let load = ["--workers", "4", "--wait", "60s", "--", "-n", "402", "-c", "8"];
    let target = format!("http://{ADDRESS}:8080/1");
    let output = nats.run(&load).arg(target).output().unwrap();
    let job = std::fs::read_to_string(&log).unwrap_or_default();
    let record = nats.record();
    assert!(is_good(output.status.code(), &record), "{} {job}", said(&output));
    assert_eq!(record.requests.completed, 402);
    let parts = record.merged.unwrap().parts;
    let mut names: Vec<String> = parts.into_iter().filter_map(|part| part.worker).collect();
    names.sort();
    assert_eq!(names, ["worker-1-0", "worker-1-1", "worker-1-2", "worker-1-3"]);
    // --once: the job ends with the run.
    wait_for("end of the job", || {
        let output = command("squeue").arg("-h").output().unwrap();
        (output.status.success() && output.stdout.is_empty()).then_some(())
    });
}
