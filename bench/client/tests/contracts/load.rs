//! How many connections many requests open.

use keepwarm_testkit::scripted::Server;
use tokio::task::JoinSet;

use crate::ensure::{Kept, within};
use crate::subject::Subject;

pub(crate) async fn a_steady_load_opens_no_more_than_its_peak_on_one_thread<S: Subject>() -> Kept {
    steady::<S>("Data OK.").await
}

pub(crate) async fn a_steady_load_opens_no_more_than_its_peak_on_several_threads<S: Subject>()
-> Kept {
    steady::<S>("Data OK.").await
}

pub(crate) async fn larger_bodies_open_no_more_than_their_peak_on_one_thread<S: Subject>() -> Kept {
    static BODY: [u8; 64 << 10] = [b'x'; 64 << 10];
    steady::<S>(std::str::from_utf8(&BODY).expect("ASCII")).await
}

pub(crate) async fn a_cold_start_opens_no_more_than_its_peak_on_one_thread<S: Subject>() -> Kept {
    cold_starts::<S>().await
}

pub(crate) async fn a_cold_start_opens_no_more_than_its_peak_on_several_threads<S: Subject>() -> Kept
{
    cold_starts::<S>().await
}

pub(crate) async fn bursts_open_no_more_than_the_largest_of_them_on_one_thread<S: Subject>() -> Kept
{
    bursts::<S>().await
}

pub(crate) async fn bursts_open_no_more_than_the_largest_of_them_on_several_threads<S: Subject>()
-> Kept {
    bursts::<S>().await
}

pub(crate) async fn one_request_after_the_other_opens_one_connection_on_one_thread<S: Subject>()
-> Kept {
    in_turn::<S>().await
}

pub(crate) async fn one_request_after_the_other_opens_one_connection_on_several_threads<
    S: Subject,
>() -> Kept {
    in_turn::<S>().await
}

async fn steady<S: Subject>(body: &'static str) -> Kept {
    let (server, client) = (Server::saying(body), S::new());
    lanes(&client, &server, 100, 50, body).await?;
    opened_at_most(&server, 100)
}

async fn cold_starts<S: Subject>() -> Kept {
    for _ in 0..5 {
        let (server, client) = (Server::saying("Data OK."), S::new());
        lanes(&client, &server, 100, 1, "Data OK.").await?;
        opened_at_most(&server, 100)?;
    }
    Ok(())
}

async fn bursts<S: Subject>() -> Kept {
    let (server, client) = (Server::saying("Data OK."), S::new());
    for _ in 0..20 {
        lanes(&client, &server, 40, 1, "Data OK.").await?;
    }
    opened_at_most(&server, 40)
}

async fn in_turn<S: Subject>() -> Kept {
    let (server, client) = (Server::saying("Data OK."), S::new());
    lanes(&client, &server, 1, 500, "Data OK.").await?;
    opened_at_most(&server, 1)
}

/// So many tasks, with so many requests one after the other in each.
async fn lanes<S: Subject>(
    client: &S,
    server: &Server,
    lanes: usize,
    requests: usize,
    body: &'static str,
) -> Kept {
    let mut tasks = JoinSet::new();
    for _ in 0..lanes {
        let (client, url) = (client.clone(), server.url("/"));
        tasks.spawn(async move {
            for _ in 0..requests {
                let sent = client.send(crate::subject::Ask::get(url.clone()));
                let text = sent.await.map_err(|e| e.to_string())?.text().await;
                ensure!(text.map_err(|e| e.to_string())? == body, "another body");
            }
            Ok(())
        });
    }
    within("the load", async {
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|panic| panic.to_string())??;
        }
        Ok(())
    })
    .await?
}

fn opened_at_most(server: &Server, peak: usize) -> Kept {
    let opened = server.accepted();
    ensure!(opened <= peak, "{opened} opened for {peak} at once");
    Ok(())
}
