//! The pages for people who come from reqwest and from Go, and the page of the settings, held against
//! the code.

use std::collections::BTreeSet;
use std::path::Path;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Every public method of reqwest 0.13.5's async types, and every exported field of Go 1.27's.
const REQWEST: &str = include_str!("reqwest.txt");
const GO: &str = include_str!("go.txt");

/// Returns the text of a file, or of all files of a folder.
fn read(path: &str) -> String {
    let path = Path::new(HERE).join(path);
    if path.is_dir() {
        let files = std::fs::read_dir(&path).expect("a folder").map(|entry| {
            std::fs::read_to_string(entry.expect("an entry").path()).expect("a file of the source")
        });
        return files.collect();
    }
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the source that has the methods of a type.
fn source_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Client" => "src/client.rs",
        "ClientBuilder" => "src/builder",
        "RequestBuilder" | "Request" => "src/request.rs",
        "Response" => "src/response.rs",
        "ConnectionInfo" => "src/exchange/response_body.rs",
        "Error" => "src/error.rs",
        "Body" => "src/wire/body.rs",
        "Proxy" | "ProxyServer" => "src/policy/proxy.rs",
        _ => return None,
    })
}

/// Names of ours on a page exist, and in the rows of its tables the names of the other one are whole.
fn check(page: &str, wanted: &str) {
    let text = read(&format!("../../docs/{page}"));
    let mut ours = 0;
    for name in quoted(&text) {
        let Some((kind, method)) = name.split_once("::") else { continue };
        let Some(source) = source_of(kind) else { continue };
        let source = read(source);
        let declared = [format!("fn {method}("), format!("fn {method}<")];
        let public = source.lines().any(|line| {
            line.trim_start().starts_with("pub ") && declared.iter().any(|one| line.contains(one))
        });
        assert!(public, "{page}: {name} is not in the code");
        ours += 1;
    }
    assert!(ours > 50, "{page} names {ours} of ours");
    let mut section = "";
    let mut rows = BTreeSet::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        }
        if let Some(name) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            rows.insert(if page == "from-go.md" {
                name.to_owned()
            } else {
                format!("{section}.{name}")
            });
        }
    }
    let wanted: BTreeSet<String> = wanted.split_whitespace().map(str::to_owned).collect();
    let missing: Vec<_> = wanted.difference(&rows).collect();
    assert!(missing.is_empty(), "{page} has no row of {missing:?}");
}

/// Returns the public methods of `ClientBuilder` that set something.
fn settings() -> BTreeSet<String> {
    let files = ["mod", "network", "pool", "requests", "tls"];
    let source: String = files.map(|file| read(&format!("src/builder/{file}.rs"))).concat();
    let names = source.lines().filter_map(|line| {
        let line = line.strip_prefix("    pub ")?;
        line.strip_prefix("const ").unwrap_or(line).strip_prefix("fn ")
    });
    let names = names.map(|rest| rest.split(['(', '<']).next().unwrap_or(rest).to_owned());
    names.filter(|name| !["new", "go_defaults", "build"].contains(&name.as_str())).collect()
}

#[test]
fn library_page_has_every_setting() {
    let page = read("../../docs/library.md");
    let table = page.split("## Settings").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = table.expect("a section").lines().filter_map(|line| line.strip_prefix("| `"));
    let first_cells = rows.map(|row| row.split(" | ").next().unwrap_or(row));
    let named: BTreeSet<String> =
        first_cells.flat_map(|cell| cell.split("`, `")).map(|one| one.replace('`', "")).collect();
    assert_eq!(named, settings());
}

#[test]
fn lists_of_features_are_whole() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[features]\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let lines =
        section.expect("a section").lines().filter(|line| !line.starts_with(['#', ' ', ']']));
    let features =
        lines.filter_map(|line| line.split(" = ").next()).filter(|one| *one != "default");
    let page = read("../../docs/library.md");
    let page = page.split("\n## Features").nth(1).and_then(|rest| rest.split("\n## ").next());
    let page = page.expect("a section");
    let crate_doc = read("src/lib.rs");
    let crate_doc =
        crate_doc.split("# Features").nth(1).and_then(|rest| rest.split("# Design").next());
    let (ci, just) = (read("../../.ci/run"), read("../../justfile"));
    let alone = |script: &str| {
        let line = script.lines().find(|line| line.contains("for features in ''"));
        line.expect("a loop").split(' ').map(|word| word.replace(';', "")).collect::<BTreeSet<_>>()
    };
    let (ci, just) = (alone(&ci), alone(&just));
    for feature in features {
        let quoted = format!("`{feature}`");
        assert!(page.contains(&quoted), "docs/library.md, Features: no {feature}");
        assert!(crate_doc.is_some_and(|doc| doc.contains(&quoted)), "src/lib.rs: no {feature}");
        assert!(ci.contains(feature) && just.contains(feature), "not tried alone: {feature}");
    }
}

#[test]
fn page_from_reqwest_names_what_exists() {
    check("from-reqwest.md", REQWEST);
}

#[test]
fn page_from_go_names_what_exists() {
    check("from-go.md", GO);
}
