//! `keepwarm watch` of real HTTP/2, and of real HTTP/1.1 from the same program: only in HTTP/1.1 is
//! a segment with data a request.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{end_watch, keepwarm, start_watch};

/// A server and a client in one program. It prints its port when the connections are open, sends
/// its rounds of requests when it reads a line, and prints when all are answered.
///
/// In HTTP/2 the ten requests of a round leave one after the other on one connection, and the
/// server answers all at once, as a server does that asks a database for all.
const PROGRAM: &str = r#"
const [mode, rounds] = [process.argv[1], Number(process.argv[2])];
const say = (line) => process.stdout.write(line + '\n');
let port, round;
function h2() {
  const http2 = require('http2');
  const server = http2.createServer();
  let waiting = [];
  const answer = (stream) => { stream.respond({ ':status': 200 }); stream.end('Data OK.'); };
  server.on('stream', (stream, headers) => {
    if (headers[':path'] === '/alone') return answer(stream);
    waiting.push(stream);
    if (waiting.length === 10) { waiting.forEach(answer); waiting = []; }
  });
  server.listen(0, '127.0.0.1', () => {
    port = server.address().port;
    const client = http2.connect(`http://127.0.0.1:${port}`);
    const send = (path, then) => {
      const request = client.request({ ':path': path });
      request.on('data', () => {}).on('end', then).end();
    };
    round = (then) => {
      let left = 10;
      const next = (number) => {
        if (number === 10) return;
        send('/data', () => { left -= 1; if (left === 0) then(); });
        setTimeout(next, 1, number + 1);
      };
      next(0);
    };
    send('/alone', () => say(port));
  });
}
function h1() {
  const http = require('http');
  const server = http.createServer((_, response) => response.end('Data OK.'));
  server.listen(0, '127.0.0.1', () => {
    port = server.address().port;
    const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
    round = (then) => {
      let left = 10;
      for (let number = 0; number < 10; number += 1) {
        http.get({ host: '127.0.0.1', port, agent, path: '/data' }, (response) => {
          response.on('data', () => {}).on('end', () => { left -= 1; if (left === 0) then(); });
        });
      }
    };
    round(() => say(port));
  });
}
({ h2, h1 })[mode]();
process.stdin.once('data', () => {
  const play = (left) => (left === 0 ? say('done') : round(() => play(left - 1)));
  play(rounds);
}).on('end', () => process.exit());
"#;

/// A program that is killed with the test.
struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts the program; `None` if there is no Node.
    fn start(mode: &str) -> Option<Program> {
        let mut command = Command::new("node");
        command.args(["-e", PROGRAM, mode, "60"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            skipped::because("there is no node");
            return None;
        };
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Some(Program { child, stdout })
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the rows of both sides, as a watch of the rounds reports them.
fn watched(mode: &str) -> Option<[Value; 2]> {
    let mut program = Program::start(mode)?;
    let address = format!("127.0.0.1:{}", program.line());
    let arguments = ["watch", &address, "--format", "json", "--level", "l1"];
    let watch = start_watch(keepwarm().args(arguments));
    program.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(program.line(), "done");
    let document = end_watch(watch);
    let all = document["destinations"].as_array().unwrap();
    Some(["client", "server"].map(|side| {
        let end = all.iter().find(|one| one["remote"] == address.as_str() && one["side"] == side);
        end.unwrap_or_else(|| panic!("no {address} as {side} in {document:#}")).clone()
    }))
}

#[test]
fn http_2_is_d12_on_both_sides() {
    let Some(ends) = watched("h2") else { return };
    for end in ends {
        let [finding] = &end["findings"].as_array().unwrap()[..] else { panic!("{end:#}") };
        assert_eq!(
            (&finding["code"], &finding["advice"]),
            (&"D12".into(), &Value::Null),
            "{end:#}"
        );
        assert!(finding["confidence"].as_f64().unwrap() >= 0.5, "{end:#}");
        assert_eq!((&end["opened"], &end["established"]), (&0.into(), &1.into()), "{end:#}");
        let summary = finding["summary"].as_str().unwrap();
        assert!(summary.contains("1 connection stays open"), "{summary}");
        assert!(!summary.contains("600 requests"), "{summary}");
    }
}

#[test]
fn http_1_1_is_healthy_and_counted() {
    let Some(ends) = watched("h1") else { return };
    for end in ends {
        let finding = &end["findings"][0];
        assert_eq!(finding["code"], "healthy", "{end:#}");
        assert!(finding["summary"].as_str().unwrap().starts_with("600 requests"), "{end:#}");
    }
}
