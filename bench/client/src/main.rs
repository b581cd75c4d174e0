//! `just bench-client`: keepwarm's client beside its peers. See `README.md`.
//!
//! One program in three parts: `server` answers, `run` measures one client in one scenario, and the
//! part without a name lets the clients take turns and says the medians.

mod all;
mod allocations;
mod bare_socket;
mod clients;
mod clients_http2;
mod closing;
mod go;
mod measure;
mod nghttpd;
mod place;
mod row;
mod scenario;
mod server;
mod server_http2;
mod table;
mod tls;

use std::process::ExitCode;

use crate::all::Settings;
use crate::clients::Failure;
use crate::scenario::Scenario;

const USAGE: &str = "\
usage: bench-client [all] [--json] [--quick] [--rounds N] [--percent N] [--scenario NAME]...
                                    the clients in turn, round after round; the medians
       bench-client run CLIENT SCENARIO [--percent N]
                                    one measurement, one JSON row (to be profiled, say)
       bench-client closing [--json]
                                    failed GETs and doubled POSTs at a server that closes idle
                                    connections; counts, no times
       bench-client server BYTES [tls|gzip|h2|nghttpd]
                                    the server by itself; ends when its standard input ends

clients: keepwarm, reqwest, hyper-util, hyper-spawned, h2-spawned (by HTTP/2 only),
bare-socket (no client, one stream of HTTP/2 only), go
scenarios: get8-c100-t1, get8-c1-t1, get8-c1000-t1, get16k-c100-t1, get1m-c100-t1; -t2 for each of
them; tls-get8-c100-t1 and so on for all ten; gzip1k-c100-t1 and gzip64k-c100-t1 with a
cookie, of keepwarm and reqwest; by HTTP/2 h2-get8-s1-t1, -s10-, -s100-, -c4s100-, h2-get1m-t1,
and nghttpd-get8-s1-t1, nghttpd-get8-s100-t1 where nghttpd (nghttp2) is installed
--quick is --rounds 2 --percent 15; the default is --rounds 5 --percent 100";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let mut words = arguments.iter().map(String::as_str);
    match words.next() {
        Some("server") => {
            place::end_with_parent();
            let body_bytes = words.next().ok_or(USAGE)?.parse()?;
            match words.next() {
                Some("h2") => server_http2::serve(body_bytes),
                Some("nghttpd") => nghttpd::serve(body_bytes),
                further => {
                    server::serve(body_bytes, further == Some("tls"), further == Some("gzip"))
                }
            }
        }
        Some("run") => {
            place::end_with_parent();
            let client = words.next().ok_or(USAGE)?;
            let scenario = Scenario::named(words.next().ok_or(USAGE)?)?;
            let percent = match (words.next(), words.next()) {
                (None, _) => 100,
                (Some("--percent"), Some(percent)) => percent.parse()?,
                _ => return Err(USAGE.into()),
            };
            if client == clients::GO {
                go::build()?;
            }
            let row = measure::run(client, scenario, percent)?;
            println!("{}", serde_json::to_string(&row)?);
            Ok(())
        }
        Some("closing") => closing::run(words),
        Some("-h" | "--help") => {
            println!("{USAGE}");
            Ok(())
        }
        Some("all") => all::run(&settings(words)?),
        _ => all::run(&settings(arguments.iter().map(String::as_str))?),
    }
}

fn settings<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Settings, Failure> {
    let mut settings = Settings::default();
    while let Some(word) = words.next() {
        match word {
            "--json" => settings.json = true,
            "--quick" => (settings.rounds, settings.percent) = (2, 15),
            "--rounds" => settings.rounds = positive(word, words.next())?,
            "--percent" => settings.percent = positive(word, words.next())?,
            "--scenario" => {
                settings.scenarios.push(Scenario::named(words.next().ok_or(USAGE)?)?);
            }
            _ => return Err(format!("{word:?}?\n{USAGE}").into()),
        }
    }
    Ok(settings)
}

fn positive(name: &str, value: Option<&str>) -> Result<usize, Failure> {
    let number = value.and_then(|value| value.parse().ok());
    Ok(number
        .filter(|number| (1..=1000).contains(number))
        .ok_or_else(|| format!("{name} takes a number from 1 to 1000, not {value:?}"))?)
}
