//! The README's lines are those of an example that is compiled.

/// Returns the lines of the first Rust block.
fn shown(page: &str) -> impl Iterator<Item = &str> {
    let block = page.split("```rust\n").nth(1).expect("a block");
    block.split("```").next().expect("its end").lines().map(str::trim)
}

#[test]
fn shown_lines_are_compiled() {
    let example = include_str!("../../examples/readme.rs");
    for page in [include_str!("../../../../README.md"), include_str!("../../../../docs/library.md")]
    {
        let mut compiled = example.lines().map(str::trim);
        for line in shown(page).filter(|line| !line.is_empty()) {
            assert!(compiled.any(|one| one == line), "{line:?} is not in examples/readme.rs");
        }
    }
}
