//! A reqwest client of one habit: `reqwest-client HABIT URL`. Says "done" after its requests, and
//! stays until its standard input ends, so that what it left open can be seen.

use std::error::Error;
use std::io::Read;

const REQUESTS: usize = 120;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [habit, url] = &arguments[..] else { return Err("reqwest-client HABIT URL".into()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = reqwest::Client::new();
    runtime.block_on(async {
        for _ in 0..REQUESTS {
            let response = match habit.as_str() {
                "per-request" => reqwest::get(url).await?,
                "shared" => shared.get(url).send().await?,
                _ => return Err(habit.as_str().into()),
            };
            response.error_for_status()?.bytes().await?;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    println!("done");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
