//! .NET: `HttpClient`, of `clients/client.cs`.
//!
//! Mono's compiler takes the place of an SDK: it needs no registry, and compiles against the
//! libraries of the runtime that is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::{assert_named, assert_runs_on, habit, here, runs};

/// A runtime, the version of it, and the client compiled for it.
#[derive(Clone)]
struct Dotnet {
    program: PathBuf,
    version: String,
    client: PathBuf,
}

/// Built once; `None` if there is no .NET, or nothing that compiles.
fn dotnet() -> Option<Dotnet> {
    static BUILT: Mutex<Option<Option<Dotnet>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.get_or_insert_with(build).clone()
}

fn build() -> Option<Dotnet> {
    let program = std::env::var("KEEPWARM_DOTNET").unwrap_or_else(|_| "dotnet".into());
    let listed = Command::new(&program).arg("--list-runtimes").output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // `Microsoft.NETCore.App 8.0.11 [/usr/share/dotnet/shared/Microsoft.NETCore.App]`
    let found = listed.unwrap_or_default().lines().rev().find_map(|line| {
        let (version, folder) = line.strip_prefix("Microsoft.NETCore.App ")?.split_once(" [")?;
        Some((version.to_owned(), Path::new(folder.trim_end_matches(']')).join(version)))
    });
    let Some((version, libraries)) = found.filter(|_| runs(Command::new("mcs").arg("--version")))
    else {
        skipped::because("no .NET (`dotnet`, or KEEPWARM_DOTNET) with a compiler (`mcs`)");
        return None;
    };
    let folder = crate::common::folder("watch-dotnet");
    let client = folder.join("client.dll");
    let mut compiler = Command::new("mcs");
    compiler.args(["-noconfig", "-nostdlib"]).arg(format!("-out:{}", client.display()));
    for name in std::fs::read_dir(libraries).unwrap().map(|file| file.unwrap().path()) {
        let file = name.file_name().unwrap().to_string_lossy();
        // The others hold no types of their own, or are not .NET's.
        if file.starts_with("System.") && file.ends_with(".dll") && !file.contains("Native") {
            compiler.arg(format!("-r:{}", name.display()));
        }
    }
    let status = compiler.arg(here("client.cs")).status().unwrap();
    assert!(status.success(), "the C# client compiles");
    let settings = format!(
        r#"{{"runtimeOptions":{{"framework":{{"name":"Microsoft.NETCore.App","version":"{version}"}},
            "configProperties":{{"System.Globalization.Invariant":true}}}}}}"#
    );
    std::fs::write(folder.join("client.runtimeconfig.json"), settings).unwrap();
    Some(Dotnet { program: program.into(), version, client })
}

fn client(dotnet: &Dotnet, does: &str) -> Value {
    let mut command = Command::new(&dotnet.program);
    command.arg(&dotnet.client);
    habit(command, does)
}

#[test]
fn dotnet_with_an_http_client_for_each_call_is_d1_and_with_a_shared_one_healthy() {
    let Some(dotnet) = dotnet() else { return };
    let alone = client(&dotnet, "client-per-call");
    assert_named(&alone, "D1", "share one HttpClient");
    assert_runs_on(&alone, "dotnet", &dotnet.version);
    assert_named(&client(&dotnet, "client-shared"), "healthy", "connections are kept");
}
