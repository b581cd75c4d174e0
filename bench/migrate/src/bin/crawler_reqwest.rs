//! Gets a thousand pages, sixteen at once: `crawler_reqwest URL`, where `{n}` is the page's number.

use std::sync::Arc;

use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const PAGES: usize = 1000;
const AT_ONCE: usize = 16;

async fn page(client: Client, url: String) -> Result<usize, reqwest::Error> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len();
    }
    Ok(bytes)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which URL? {n} is the number of the page")?;
    let client = Client::builder().user_agent("crawler/1").redirect(Policy::limited(3)).build()?;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut pages = JoinSet::new();
    for number in 0..PAGES {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let (client, url) = (client.clone(), url.replace("{n}", &number.to_string()));
        pages.spawn(async move {
            let page = page(client, url).await;
            drop(permit);
            page
        });
    }
    let (mut bytes, mut failures) = (0, 0);
    for page in pages.join_all().await {
        match page {
            Ok(length) => bytes += length,
            Err(error) => {
                eprintln!("{error}");
                failures += 1;
            }
        }
    }
    println!("{bytes} bytes of {} pages, {failures} failures", PAGES - failures);
    Ok(())
}
