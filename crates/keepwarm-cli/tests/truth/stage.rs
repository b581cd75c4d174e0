//! Plays a situation: hosts, watches, captures, programs, events. Judges nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use keepwarm_testkit::mortal;
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::wire::Wire;
use serde_json::Value;

use crate::common::{finish, kill, until};
use crate::packets::{Capture, Packets};
use crate::programs::Tools;
use crate::situation::{Event, Side, Situation, View};

const NOBODY: &str = "65534";
/// The net of the situations' texts: the client's host is number 1, the server's number 2.
const NET: &str = "10.107.0.";
/// No play takes longer.
const PLAY: Duration = Duration::from_secs(40);
/// After the play: what is under way arrives, and the watches dump once more.
const SETTLE: Duration = Duration::from_millis(1_200);

/// The results of a play.
pub(crate) struct Played {
    pub(crate) watched: Vec<Watched>,
    /// By the client's host, and by the server's.
    pub(crate) packets: [Packets; 2],
    /// Numbers that the play printed, as `NAME=NUMBER`.
    pub(crate) printed: BTreeMap<String, u64>,
}

/// The document of one watch.
pub(crate) struct Watched {
    pub(crate) side: Side,
    pub(crate) view: View,
    pub(crate) document: Value,
}

struct Stage<'a> {
    situation: &'static Situation,
    tools: &'a Tools,
    wire: Wire,
    /// Stands for [`NET`] in the commands.
    net: String,
    folder: PathBuf,
}

pub(crate) fn play(situation: &'static Situation, tools: &Tools) -> Played {
    // Traces are of the whole machine and joined by address: each play has a net of its own.
    let wire = Wire::lay().expect("a wire");
    let server = wire.server_ip(false).to_string();
    let net = server.trim_end_matches('2').to_owned();
    let folder = tools.folder(situation.name, &|text| text.replace(NET, &net));
    let stage = Stage { situation, tools, wire, net, folder };
    stage.wire.set(situation.conditions.unwrap_or_else(situation.wire));
    for (side, commands) in Side::ALL.into_iter().zip([situation.at_client, situation.at_server]) {
        for command in commands {
            let status = stage.command(command, "setup").status(stage.host(side));
            assert!(status, "{}: {command}", situation.name);
        }
    }
    stage.play()
}

impl Stage<'_> {
    fn host(&self, side: Side) -> &Namespace {
        match side {
            Side::Client => &self.wire.client,
            Side::Server => &self.wire.server,
        }
    }

    fn play(&self) -> Played {
        let situation = self.situation;
        let mut programs = Vec::new();
        if !situation.serve.is_empty() {
            programs.push(self.command(situation.serve, "serve").start(&self.wire.server));
            self.wait_for_listener(Side::Server, situation.listens());
        }
        if let Some((proxy, port)) = situation.proxy {
            programs.push(self.command(proxy, "proxy").start(&self.wire.client));
            self.wait_for_listener(Side::Client, port);
        }
        let captures = Side::ALL.map(|side| Capture::start(self.host(side)));
        let mut watches = self.start_watches();
        let (mut player, printed) = self.perform(&watches);
        let mut watched = Vec::new();
        if situation.more.contains(&View::Once) {
            for side in Side::ALL {
                let watch = self.watch(side, View::Once);
                watched.push(Watched { side, view: View::Once, document: document(watch) });
            }
        }
        // Connections that are over a little earlier have to be in the reports.
        let end = SystemTime::now() - SETTLE / 3;
        for (_, _, watch) in &watches {
            kill(watch.id(), "INT");
        }
        for (side, view, watch) in watches.drain(..) {
            watched.push(Watched { side, view, document: document(watch) });
        }
        let mut sides = Side::ALL.into_iter();
        let packets =
            captures.map(|capture| capture.finish(situation.listens(), sides.next().unwrap(), end));
        for Watched { side, view, document } in &watched {
            let file = self.folder.join(format!("{}-{view}.json", side.name()));
            fs::write(file, document.to_string()).unwrap();
        }
        drop(player.stdin.take());
        for mut program in programs.into_iter().chain([player]) {
            let _ = program.kill();
            let _ = program.wait();
        }
        Played { watched, packets, printed }
    }

    /// Runs the play and its events. Returns when the play is over, with the numbers it printed.
    fn perform(&self, watches: &[(Side, View, Child)]) -> (Child, BTreeMap<String, u64>) {
        let mut player = self.command(self.situation.play, "play").start(&self.wire.client);
        let begin = Instant::now();
        let stdout = BufReader::new(player.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut events = self.situation.events.iter().copied();
        let mut next = events.next();
        let mut printed = BTreeMap::new();
        loop {
            let due = next.map_or(PLAY, |(at, _)| Duration::from_millis(at));
            match lines.recv_timeout(due.saturating_sub(begin.elapsed())) {
                Ok(line) if line == "done" => break,
                Ok(line) => printed.extend(numbers(&line)),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let Some((_, event)) = next.take() else {
                        panic!("{} plays longer than {PLAY:?}", self.situation.name)
                    };
                    self.happens(event, watches);
                    next = events.next();
                }
            }
        }
        // Nothing signals that no more packets come.
        std::thread::sleep(SETTLE);
        (player, printed)
    }

    fn happens(&self, event: Event, watches: &[(Side, View, Child)]) {
        match event {
            Event::Cut => self.wire.cut(),
            Event::Forget => self.wire.forget(),
            Event::Mute(side) => self.wire.mute(side == Side::Client),
            Event::StopWatches(ms) => {
                let signal = |name| watches.iter().for_each(|(_, _, one)| kill(one.id(), name));
                signal("STOP");
                // The pause itself is the subject.
                std::thread::sleep(Duration::from_millis(ms));
                signal("CONT");
            }
        }
    }

    /// Returns when the windows of all watches have begun.
    fn start_watches(&self) -> Vec<(Side, View, Child)> {
        let more = self.situation.more.iter().filter(|view| **view != View::Once);
        let views: Vec<View> = [View::L1, View::L2].iter().chain(more).copied().collect();
        let all =
            Side::ALL.into_iter().flat_map(|side| views.iter().map(move |view| (side, *view)));
        let mut watches: Vec<_> =
            all.map(|(side, view)| (side, view, self.watch(side, view))).collect();
        for (_, _, watch) in &mut watches {
            let mut stderr = BufReader::new(watch.stderr.take().unwrap());
            let mut line = String::new();
            stderr.read_line(&mut line).unwrap();
            watch.stderr = Some(stderr.into_inner());
            assert!(line.starts_with("watching"), "{}: {line}", self.situation.name);
        }
        watches
    }

    fn watch(&self, side: Side, view: View) -> Child {
        let mut command = match view {
            View::L2 => mortal::command(&self.tools.keepwarm, "TERM"),
            View::L0 | View::L1 | View::Once => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
                    .args(["--bounding-set=-all", "--pdeathsig", "TERM"])
                    .arg(&self.tools.keepwarm);
                command
            }
        };
        command.args(["watch", "--format", "json"]).env("NO_COLOR", "1");
        if !self.situation.filter.is_empty() {
            command.arg(self.situation.filter);
        }
        match view {
            View::L0 => drop(command.args(["--level", "l0"])),
            View::Once => drop(command.arg("--once")),
            View::L1 | View::L2 => {}
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.host(side).inside(|| command.spawn()).expect("the tool starts")
    }

    fn command(&self, text: &str, name: &str) -> Program {
        let mut command = mortal::command("sh", "KILL");
        command.args(["-c", &text.replace(NET, &self.net)]).current_dir(&self.folder);
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
        self.tools.equip(&mut command, &self.folder);
        let log = File::create(self.folder.join(format!("{name}.err"))).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        Program(command)
    }

    fn wait_for_listener(&self, side: Side, port: u16) {
        let listens = || self.host(side).inside(|| Ok(is_listening(port))).unwrap();
        if !until_soon(listens) {
            let said = ["serve.err", "proxy.err"].map(|name| read(&self.folder.join(name)));
            panic!("{}: nothing listens at {port}: {}", self.situation.name, said.concat());
        }
    }
}

impl Drop for Stage<'_> {
    /// Ends what is left of the programs, of a play that failed too.
    fn drop(&mut self) {
        Side::ALL.iter().for_each(|side| end_all(self.host(*side)));
    }
}

struct Program(Command);

impl Program {
    fn start(mut self, host: &Namespace) -> Child {
        host.inside(|| self.0.spawn()).expect("a shell")
    }

    fn status(mut self, host: &Namespace) -> bool {
        host.inside(|| self.0.stdin(Stdio::null()).stdout(Stdio::null()).status())
            .unwrap()
            .success()
    }
}

fn document(watch: Child) -> Value {
    let output = finish(watch);
    output.exits_with(0);
    serde_json::from_str(&output.stdout).unwrap()
}

/// Returns the words of the form `NAME=NUMBER`.
fn numbers(line: &str) -> Vec<(String, u64)> {
    let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?))).collect()
}

/// Returns whether a socket listens at the port, in the namespace of this thread.
fn is_listening(port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
        table.unwrap_or_default().lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&suffix))
                && fields.nth(1) == Some("0A")
        })
    })
}

fn until_soon(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    until(|| condition() || start.elapsed() > Duration::from_secs(30)) && condition()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// Kills every process of a host: services have children that outlive their shell.
fn end_all(host: &Namespace) {
    let own = host.inside(|| fs::read_link("/proc/thread-self/ns/net")).unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if fs::read_link(process.path().join("ns/net")).is_ok_and(|theirs| theirs == own) {
            // It may have ended by itself in the meantime.
            let mut command = Command::new("kill");
            let _ = command.args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
    }
}
