//! Forms of several parts: their bytes, their length, and that they can be sent again.

use keepwarm::multipart::{Form, Part};
use keepwarm::{Body, Client};
use keepwarm_testkit::scripted::{Answer, Request, Server, ok};

/// Answers with the length, the transfer coding, and the body with `B` for the boundary.
fn echo() -> Server {
    Server::start(|request: &Request| {
        if request.target() == "/from" {
            let head = "HTTP/1.1 307 Temporary\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n";
            return Answer::Send(head.to_owned());
        }
        let media = request.field("content-type").unwrap_or_default();
        let boundary = media.split_once("boundary=").map_or("?", |(_, boundary)| boundary);
        let body = String::from_utf8_lossy(&request.body).replace(boundary, "B");
        let length: usize =
            request.field("content-length").and_then(|text| text.parse().ok()).unwrap_or_default();
        let exact = length == request.body.len();
        let coding = request.field("transfer-encoding").unwrap_or("-");
        Answer::Send(ok(&format!("{exact} {coding}\n{body}")))
    })
}

async fn send(server: &Server, path: &str, form: Form) -> String {
    let request = Client::new().post(server.url(path)).multipart(form);
    request.send().await.expect("a response").text().await.expect("a body")
}

const TWO: &str = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n\
    --B\r\nContent-Disposition: form-data; name=\"b\"; filename=\"x.csv\"\r\nContent-Type: text/csv\r\n\
    \r\n1,2\r\n--B--\r\n";

fn two() -> Form {
    let file = Part::bytes("1,2").file_name("x.csv").content_type("text/csv");
    Form::new().text("a", "one").part("b", file)
}

#[tokio::test]
async fn length_is_exact_and_redirects_resend() {
    let server = echo();
    assert_eq!(send(&server, "/", two()).await, format!("true -\n{TWO}"));
    assert_eq!(send(&server, "/from", two()).await, format!("true -\n{TWO}"));
    assert_eq!(send(&server, "/", Form::new()).await, "true -\n--B--\r\n");
}

#[tokio::test]
async fn names_are_escaped_as_browsers_do() {
    let server = echo();
    let part = Part::text("x").file_name("\"\r\n\u{e9}.txt").content_type("a\r\nb: c");
    let body = send(&server, "/", Form::new().part("q\"n", part)).await;
    let expected = "name=\"q%22n\"; filename=\"%22%0D%0A\u{e9}.txt\"\r\nContent-Type: ab: c\r\n";
    assert!(body.contains(expected), "{body}");
}

#[tokio::test]
async fn files_are_streamed() {
    let path = std::env::temp_dir().join(format!("keepwarm-multipart-{}", std::process::id()));
    let content: String = (0..50_000).map(|number| format!("{number}\n")).collect();
    std::fs::write(&path, &content).expect("a file");
    let server = echo();
    let form = Form::new().file("f", &path).await.expect("a file");
    let body = send(&server, "/from", form).await;
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let head =
        format!("true -\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"");
    assert!(body.starts_with(&head) && body.contains(&content), "{}", body.len());

    let form = Form::new().file("f", &path).await.expect("a file");
    std::fs::write(&path, "short").expect("a file");
    let request = Client::new().post(server.url("/")).multipart(form);
    let error = request.send().await.expect_err("the file is shorter now");
    assert!(error.to_string().contains("too early"), "{error}");
    std::fs::remove_file(&path).expect("it was made here");
    let error = Part::file(&path).await.expect_err("it is gone");
    assert!(error.is_invalid() && error.to_string().contains(name), "{error}");
}

#[tokio::test]
async fn streams_of_unknown_length_come_in_chunks() {
    struct Lines(u8);
    impl http_body::Body for Lines {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            self.0 += 1;
            let frame = (self.0 <= 2).then(|| Ok(http_body::Frame::data("line".into())));
            std::task::Poll::Ready(frame)
        }
    }
    let server = echo();
    let form = Form::new().part("s", Part::body(Body::stream(Lines(0))));
    let body = send(&server, "/", form).await;
    assert!(
        body.starts_with("false chunked\n") && body.contains("\r\n\r\nlineline\r\n--B--"),
        "{body}"
    );
    let known = Body::from("in memory");
    let body = send(&server, "/from", Form::new().part("s", Part::body(known))).await;
    assert!(body.starts_with("true -\n") && body.contains("in memory"), "{body}");
}
