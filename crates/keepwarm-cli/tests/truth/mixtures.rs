//! Random mixtures with known causes, and the calibration of what is said of them: how often a
//! finding names a cause that was put in, by confidence.

use std::collections::BTreeMap;
use std::fmt::Write;

use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::wire::Conditions;

use crate::grade::Cell;
use crate::situation::{BASE, Event, Expect, Side, Situation};

const PYTHON: &str = "exec $PY $P/client.py";

/// The parts of a mixture, with the codes that are true of it on each side. An empty list: not
/// judged, because that host cannot know.
struct Recipe {
    play: String,
    serve: String,
    truth: [&'static [&'static str]; 2],
    events: &'static [(u64, Event)],
    ports: bool,
    /// The port that is judged.
    port: u16,
    needs: &'static [&'static str],
}

impl Recipe {
    fn new(serve: String, play: String, truth: &'static [&'static str]) -> Recipe {
        let truth = [truth, truth];
        Recipe {
            play,
            serve,
            truth,
            events: &[],
            ports: false,
            port: 8080,
            needs: &["go", "python:requests"],
        }
    }
}

/// Makes mixture `number` of a seed.
pub(crate) fn mixture(seed: u64, number: u64) -> &'static Situation {
    let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let conditions = conditions(&mut dice);
    let recipe = recipe(&mut dice, number, conditions.delay.as_millis() as u64);
    let beside = dice.roll(10) < 3 && recipe.events.is_empty() && !recipe.ports;
    let play = if beside && recipe.serve.contains("server.py") && !recipe.serve.contains("mode=") {
        let think = dice.roll(40) + 10;
        let tls = u8::from(recipe.serve.contains("tls=1"));
        let busy =
            format!("$PY $P/client.py mode=until-end c=4 tls={tls} think=0.0{think} seconds=5");
        format!("{busy} >&2 & {}", recipe.play)
    } else {
        recipe.play
    };
    let expect = Side::ALL.iter().zip(recipe.truth).filter(|(_, codes)| !codes.is_empty());
    let expect =
        expect.map(|(side, codes)| Expect { side: *side, views: &[], codes, may_be_unsure: true });
    let at_client: &[&str] =
        if recipe.ports { &["sysctl -qw 'net.ipv4.ip_local_port_range=40000 40099'"] } else { &[] };
    let name = format!("mixture-{number}");
    Box::leak(Box::new(Situation {
        name: name.leak(),
        needs: recipe.needs,
        conditions: Some(conditions),
        port: recipe.port,
        filter: if recipe.port == 8080 { ":8080" } else { ":8081" },
        at_client,
        serve: recipe.serve.leak(),
        play: play.leak(),
        events: recipe.events,
        expect: Vec::leak(expect.collect()),
        ..BASE
    }))
}

fn conditions(dice: &mut Dice) -> Conditions {
    let delay = std::time::Duration::from_millis(dice.roll(25));
    let losing = if dice.roll(10) < 7 { 0 } else { dice.roll(4) as u32 + 1 };
    Conditions::delay(delay).losing(losing, dice.roll(1_000))
}

fn recipe(dice: &mut Dice, number: u64, delay: u64) -> Recipe {
    let tls = u8::from(dice.roll(3) == 0);
    let threads = 2 + dice.roll(10);
    let size = [0, 100, 3_000, 40_000, 300_000][dice.roll(5) as usize];
    let post = [0, 0, 800, 5_000, 60_000][dice.roll(5) as usize];
    let think = dice.roll(40);
    let common =
        format!("tls={tls} c={threads} post={post} think=0.0{think:02} seconds=4 n=100000");
    let serve = |more: &str| format!("exec $PY $P/server.py tls={tls} size={size} {more}");
    let play = |mode: &str| format!("{PYTHON} {common} {mode}");
    let scheme = if tls == 1 { "https" } else { "http" };
    let go = |more: &str, for_ms: u64| {
        let each = think.max(10) + 2 * delay * (2 + u64::from(tls));
        let n = threads * (for_ms / each).max(6);
        let n = n.min(3_000);
        format!(
            "exec $PEER -url {scheme}://10.107.0.2:8080/ -c {threads} -think {think}ms -n {n} -for {for_ms}ms {more}"
        )
    };
    // The kinds in turn, so that each is played; the numbers by the dice.
    match number % KINDS {
        0 => Recipe::new(serve(""), play("mode=until-end"), &["healthy"]),
        1 => Recipe::new(serve(""), go("", 4_000), &["healthy"]),
        2 => Recipe::new(serve(""), play("mode=per-request"), &["D1"]),
        3 => Recipe::new(serve(""), go("-mode per-request", 4_000), &["D1"]),
        4 => Recipe::new(serve("close=1"), play("mode=keep"), &["D6"]),
        5 => Recipe::new(serve("close=1"), go("", 4_000), &["D6"]),
        6 => {
            let idle = 5 + dice.roll(8);
            let (think, more) = (idle + 5 + dice.roll(5), 20 + dice.roll(30));
            let play = format!(
                "{PYTHON} tls={tls} mode=checked c={more} think={}.{} jitter=0.2 seconds=8",
                think / 10,
                think % 10
            );
            Recipe::new(serve(&format!("idle={}.{}", idle / 10, idle % 10)), play, &["D4"])
        }
        7 => {
            let most = 5 + dice.roll(20);
            Recipe::new(serve(&format!("max={most}")), play("mode=keep"), &["D5"])
        }
        8 => {
            let serve = format!("exec $PY $P/server.py tls={tls} size=600000");
            Recipe::new(serve, play("mode=per-request read=1000"), &["D3", "D13"])
        }
        // Probes beside kept connections leave them healthy.
        9 => {
            let linger = dice.roll(2);
            let play =
                format!("{PYTHON} mode=probe c=2 every=0.08 seconds=5 n=1000 linger={linger}");
            Recipe::new("exec $PY $P/server.py".to_owned(), play, &["D8", "healthy"])
        }
        // Nothing listens there.
        10 => Recipe {
            truth: [&["D9"], &[]],
            port: 8081,
            ..Recipe::new(
                String::new(),
                format!(
                    "{PYTHON} port=8081 mode=per-request c={threads} think=0.02 seconds=4 n=100000"
                ),
                &[],
            )
        },
        11 => {
            let deadline = 15 + dice.roll(10) + delay / 5;
            let play = play(&format!("mode=per-request deadline=0.{deadline:02}"));
            Recipe::new(serve("delay=0.7"), play, &["D13"])
        }
        12 => Recipe {
            truth: [&["D14", "D13"], &[]],
            events: if dice.roll(2) == 0 { CUT } else { FORGET },
            ..Recipe::new(
                serve(""),
                format!(
                    "{PYTHON} tls={tls} mode=hold-ask c={} k=2 act=2 seconds=6 deadline=3.5",
                    threads * 4
                ),
                &[],
            )
        },
        13 => {
            let mode = ["sse", "ws"][dice.roll(2) as usize];
            let every = 1 + dice.roll(15);
            let serve = format!(
                "exec $PY $P/server.py tls={tls} mode={mode} every={}.{}",
                every / 10,
                every % 10
            );
            let play = format!("{PYTHON} tls={tls} mode={mode} c={} seconds=5", threads * 4);
            Recipe::new(serve, play, &["healthy"])
        }
        14 => Recipe {
            truth: [&["D10", "D1"], &["D1"]],
            ports: true,
            ..Recipe::new(serve(""), play("mode=per-request"), &[])
        },
        15 => Recipe::new(
            serve(""),
            format!("{PYTHON} tls={tls} mode=sessions n=300 c=3 think=0.02"),
            &["D1"],
        ),
        // A connection that carries twenty requests before it ends is well used: healthy is right, too.
        16 => {
            let age = 5 + dice.roll(8);
            let play = play(&format!("mode=keep age={}.{} jitter=0.01", age / 10, age % 10));
            Recipe::new(serve(""), play, &["D11", "healthy"])
        }
        17 => {
            let pool = 1 + dice.roll(5);
            let pool =
                format!("$PY $P/client.py tls={tls} mode=until-end c={pool} think=0.02 seconds=6");
            let play = play("mode=per-request");
            Recipe::new(serve(""), format!("{pool} < /dev/null >&2 & {play}"), &["D1"])
        }
        18 => {
            let mode = ["sse", "ws"][dice.roll(2) as usize];
            let life = 6 + dice.roll(10);
            let serve = format!("exec $PY $P/server.py tls={tls} mode={mode} every=0.07");
            let end = format!("={}.{}", life / 10, life % 10);
            let (serve, age) = if dice.roll(2) == 0 {
                (format!("{serve} life{end}"), String::new())
            } else {
                (serve, format!("age{end}"))
            };
            let play = format!("{PYTHON} tls={tls} mode={mode} c={} seconds=6 {age}", threads * 2);
            Recipe::new(serve, play, &["healthy"])
        }
        19 => {
            let go = format!(
                "exec $PEER -url {scheme}://10.107.0.2:8080/ -c {} -idle 1s -think {}ms -n 100000 -for 7s",
                threads * 4,
                1_200 + dice.roll(700)
            );
            Recipe::new(serve(""), go, &["D11"])
        }
        20 => {
            let go = format!(
                "exec $PEER -url {scheme}://10.107.0.2:8080/ -mode wave -c {} -n 600 -think {}ms",
                threads * 2,
                40 + dice.roll(80)
            );
            Recipe::new(serve(""), go, &["D2"])
        }
        21 => {
            let idle = 8 + dice.roll(6);
            let proxy = "sed -e 's/@UPSTREAM@/keepalive 64;/' -e 's/@LOCATION@/proxy_http_version 1.1; \
                 proxy_set_header Connection \"\";/' $P/proxy.conf > proxy.conf && \
                 (nginx -p . -c proxy.conf >&2 &) && sleep 0.5";
            let play = format!(
                "{proxy} && {PYTHON} host=127.0.0.1 port=9000 mode=keep n=100000 c={} think={}.{} \
                 jitter=0.2 seconds=8",
                threads * 4,
                (idle + 4) / 10,
                (idle + 4) % 10
            );
            let serve = format!("exec $PY $P/server.py idle={}.{}", idle / 10, idle % 10);
            let needs: &[&str] = &["nginx"];
            Recipe { needs, ..Recipe::new(serve, play, &["D4"]) }
        }
        22 => {
            let slow = serve(&format!("delay=0.{}", 3 + dice.roll(5)));
            Recipe::new(slow, play("mode=per-request"), &["D1"])
        }
        23 if dice.roll(2) == 0 => Recipe::new(
            "exec $PY $P/server.py mode=hangup".to_owned(),
            play("mode=per-request tls=0"),
            &["D13"],
        ),
        23 => {
            let serve = "exec $PY $P/server.py mode=noanswer".to_owned();
            Recipe::new(serve, play("mode=per-request tls=0 read=-2"), &["D1"])
        }
        24 => {
            let serve = format!("exec $PY $P/server.py tls={tls} mode=drip size=80 every=0.05");
            let play = format!(
                "seq 70 | xargs -P 6 -I{{}} curl -sk -m 0.{} -o /dev/null {scheme}://10.107.0.2:8080/; \
                 echo done",
                4 + dice.roll(5)
            );
            Recipe { needs: &["curl"], ..Recipe::new(serve, play, &["D3", "D13"]) }
        }
        _ => {
            let up = 14 + dice.roll(10);
            let serve = format!(
                "for i in 1 2 3 4 5 6; do timeout {}.{} $PY $P/server.py tls={tls} size={size}; done",
                up / 10,
                up % 10
            );
            Recipe::new(serve, play("mode=keep think=0.03"), &["healthy", "D9"])
        }
    }
}

/// Kinds of mixtures.
const KINDS: u64 = 26;

const CUT: &[(u64, Event)] = &[(1_500, Event::Cut)];
const FORGET: &[(u64, Event)] = &[(1_500, Event::Forget)];

/// Findings of a band, or of a code, and how many of them named a cause.
#[derive(Default)]
struct Tally {
    right: u32,
    all: u32,
}

impl Tally {
    fn count(&mut self, right: bool) {
        self.right += u32::from(right);
        self.all += 1;
    }

    fn text(&self) -> String {
        let share = f64::from(self.right) * 100.0 / f64::from(self.all.max(1));
        format!("{:>5} of {:>5}  {share:>5.1} %", self.right, self.all)
    }
}

/// The table by confidence, and whether sure findings name a cause 95 times of 100.
pub(crate) fn calibration(cells: &[Cell]) -> (String, bool) {
    const BANDS: [f64; 4] = [0.9, 0.7, 0.5, 0.3];
    let mut bands: BTreeMap<usize, Tally> = BTreeMap::new();
    let mut codes: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut wrong = Vec::new();
    for cell in cells.iter().filter(|cell| !cell.expected.is_empty()) {
        let truth: Vec<&str> = cell.expected.trim_end_matches('?').split('|').collect();
        for (code, confidence) in &cell.said {
            let Some(band) = BANDS.iter().position(|least| confidence >= least) else { continue };
            let right = truth.contains(&code.as_str());
            bands.entry(band).or_default().count(right);
            if band == 0 {
                codes.entry(code).or_default().count(right);
                if !right {
                    let (name, side) = (cell.situation.name, cell.side.name());
                    wrong.push(format!(
                        "{name} {side} {}: {code}, not {}",
                        cell.view, cell.expected
                    ));
                }
            }
        }
    }
    let mut text = String::from("\nconfidence    names a cause that was put in\n");
    for (band, tally) in &bands {
        let most = if *band == 0 { 100.0 } else { BANDS[band - 1] * 100.0 };
        writeln!(text, "{:>3.0} to {most:<3.0}    {}", BANDS[*band] * 100.0, tally.text()).unwrap();
    }
    text.push_str("\n90 and more, by code\n");
    for (code, tally) in &codes {
        writeln!(text, "{code:<9}     {}", tally.text()).unwrap();
    }
    writeln!(text, "\nsure and wrong\n{}", wrong.join("\n")).unwrap();
    let sure = bands.remove(&0).unwrap_or_default();
    (text, sure.right * 100 >= sure.all * 95)
}
