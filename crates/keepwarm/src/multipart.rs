//! Forms of several parts (RFC 7578), with a length that is known before they are sent.
//!
//! Owns the bytes between the parts. A form of bytes, texts and files can be sent again, for a
//! redirect or a second attempt.

use std::collections::VecDeque;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::error::{BoxError, Error, Result};
use crate::wire::body::Body;

/// Bytes of a file that are read at once.
const PIECE: usize = 64 << 10;

/// A form of several parts, `multipart/form-data`.
///
/// Its length is sent, unless a part is a stream of unknown length. Names are escaped as browsers do
/// (WHATWG HTML, 4.10.22.7): `"`, CR and LF.
///
/// ```no_run
/// use keepwarm::multipart::{Form, Part};
///
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let form = Form::new()
///     .text("city", "Köln")
///     .part("data", Part::bytes("a,b\n1,2\n").file_name("data.csv").content_type("text/csv"))
///     .part("photo", Part::file("photo.jpg").await?);
/// client.post("http://127.0.0.1:8081/upload").multipart(form).send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Form {
    boundary: String,
    parts: Vec<(String, Part)>,
}

/// A part of a form.
///
/// ```
/// use keepwarm::multipart::Part;
///
/// let part = Part::text("{}").content_type("application/json");
/// # drop(part);
/// ```
#[derive(Debug)]
pub struct Part {
    source: PartSource,
    file_name: Option<String>,
    content_type: Option<String>,
    fields: HeaderMap,
}

#[derive(Debug)]
enum PartSource {
    Bytes(Bytes),
    File {
        path: PathBuf,
        length: u64,
    },
    /// Under a lock, because a body is not `Sync`.
    Body(Mutex<Body>),
}

impl PartSource {
    fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { length, .. } => Some(*length),
            Self::Body(body) => locked(body).size_hint().exact(),
        }
    }

    fn try_clone(&self) -> Option<Self> {
        Some(match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Self::File { path, length } => Self::File { path: path.clone(), length: *length },
            Self::Body(body) => Self::Body(Mutex::new(locked(body).try_clone()?)),
        })
    }
}

fn locked(body: &Mutex<Body>) -> std::sync::MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    fn of(source: PartSource) -> Self {
        Self { source, file_name: None, content_type: None, fields: HeaderMap::new() }
    }

    /// Makes a part of a text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(PartSource::Bytes(text.into().into()))
    }

    /// Makes a part of bytes.
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::of(PartSource::Bytes(bytes.into()))
    }

    /// Makes a part of a file, which is read while the form is sent. Its name is the file's name,
    /// and its length is taken now: if the file becomes shorter, the request fails; if it becomes
    /// longer, only that many bytes are sent.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if there is no such file.
    pub async fn file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let refuse = |why: &dyn std::fmt::Display| {
            Error::invalid(format!("multipart: the file {}: {why}", path.display()))
        };
        let facts = tokio::fs::metadata(&path).await.map_err(|why| refuse(&why))?;
        if !facts.is_file() {
            return Err(refuse(&"it is not a regular file"));
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let part = Self::of(PartSource::File { length: facts.len(), path });
        Ok(Self { file_name: name, ..part })
    }

    /// Makes a part of a body. If its length is unknown, the form is sent in chunks, which some
    /// servers refuse (411).
    #[must_use]
    pub fn body(body: impl Into<Body>) -> Self {
        Self::of(PartSource::Body(Mutex::new(body.into())))
    }

    /// Sets the name of the file.
    #[must_use]
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.file_name = Some(name.into());
        self
    }

    /// Sets the media type.
    #[must_use]
    pub fn content_type(mut self, media: impl Into<String>) -> Self {
        self.content_type = Some(media.into());
        self
    }

    /// Sets further fields of the part.
    #[must_use]
    pub fn headers(mut self, fields: HeaderMap) -> Self {
        self.fields = fields;
        self
    }

    /// Writes the lines before the content.
    fn head(&self, name: &str, boundary: &str) -> Bytes {
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; ").into_bytes();
        head.extend(format!("name=\"{}\"", escaped(name)).bytes());
        if let Some(file) = &self.file_name {
            head.extend(format!("; filename=\"{}\"", escaped(file)).bytes());
        }
        let media = self.content_type.as_deref();
        let media = media.or_else(|| self.file_name.as_ref().map(|_| "application/octet-stream"));
        if let Some(media) = media {
            let media: String = media.chars().filter(|one| !one.is_control()).collect();
            head.extend(format!("\r\nContent-Type: {media}").bytes());
        }
        for (name, value) in &self.fields {
            head.extend(format!("\r\n{name}: ").bytes());
            head.extend(value.as_bytes());
        }
        head.extend(b"\r\n\r\n");
        head.into()
    }
}

/// Escapes a name as browsers do.
fn escaped(name: &str) -> String {
    name.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22")
}

impl Default for Form {
    fn default() -> Self {
        Self::new()
    }
}

impl Form {
    /// Returns a form without parts.
    #[must_use]
    pub fn new() -> Self {
        // Two hashes with seeds of their own: 128 bits that no content guesses.
        let random = || RandomState::new().build_hasher().finish();
        Self { boundary: format!("keepwarm-{:016x}{:016x}", random(), random()), parts: Vec::new() }
    }

    /// Returns the line that parts the parts.
    #[must_use]
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.part(name, Part::text(text))
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, name: impl Into<String>, part: Part) -> Self {
        self.parts.push((name.into(), part));
        self
    }

    /// Adds a file, see [`Part::file`].
    ///
    /// # Errors
    ///
    /// Errors of [`Part::file`].
    pub async fn file(self, name: impl Into<String>, path: impl AsRef<Path>) -> Result<Self> {
        Ok(self.part(name, Part::file(path).await?))
    }

    /// Returns the media type of the form.
    pub(crate) fn media(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    pub(crate) fn into_body(self) -> Body {
        let mut pieces = VecDeque::new();
        for (name, part) in self.parts {
            pieces.push_back(PartSource::Bytes(part.head(&name, &self.boundary)));
            pieces.push_back(part.source);
            pieces.push_back(PartSource::Bytes(Bytes::from_static(b"\r\n")));
        }
        pieces.push_back(PartSource::Bytes(format!("--{}--\r\n", self.boundary).into()));
        let copy = |pieces: &VecDeque<PartSource>| -> Option<VecDeque<PartSource>> {
            pieces.iter().map(PartSource::try_clone).collect()
        };
        match copy(&pieces) {
            None => Body::stream(FormBody::new(pieces)),
            // Parts that were copied once can be copied again.
            Some(_) => Body::replayable(move || FormBody::new(copy(&pieces).unwrap_or_default())),
        }
    }
}

type Opening = Pin<Box<dyn Future<Output = std::io::Result<File>> + Send>>;

/// The piece that is being sent.
enum Current {
    None,
    Opening(Opening, u64),
    File(Box<File>, u64),
    Body(Body),
}

struct FormBody {
    pieces: VecDeque<PartSource>,
    current: Current,
    /// Bytes that are left; `None` if that is not known.
    left: Option<u64>,
}

impl FormBody {
    fn new(pieces: VecDeque<PartSource>) -> Self {
        let left = pieces.iter().map(PartSource::length).sum();
        Self { pieces, current: Current::None, left }
    }

    fn give(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl http_body::Body for FormBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match &mut self.current {
                Current::None => match self.pieces.pop_front() {
                    None => return Poll::Ready(None),
                    Some(PartSource::Bytes(bytes)) if bytes.is_empty() => {}
                    Some(PartSource::Bytes(bytes)) => return self.give(bytes),
                    Some(PartSource::File { path, length }) => {
                        self.current = Current::Opening(Box::pin(File::open(path)), length);
                    }
                    Some(PartSource::Body(body)) => {
                        let body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
                        self.current = Current::Body(body);
                    }
                },
                Current::Opening(opening, length) => {
                    let file = ready!(opening.as_mut().poll(cx))?;
                    self.current = Current::File(Box::new(file), *length);
                }
                Current::File(_, 0) => self.current = Current::None,
                Current::File(file, left) => {
                    let mut piece = BytesMut::with_capacity(PIECE.min(*left as usize));
                    let limit = piece.capacity();
                    let mut limited = bytes::BufMut::limit(&mut piece, limit);
                    let reading = std::pin::pin!(file.read_buf(&mut limited));
                    let count = ready!(reading.poll(cx))?;
                    if count == 0 {
                        let words = format!("a file of the form ended {left} bytes too early");
                        return Poll::Ready(Some(Err(words.into())));
                    }
                    piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX).min(count));
                    *left -= piece.len() as u64;
                    return self.give(piece.freeze());
                }
                Current::Body(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                    None => self.current = Current::None,
                    // A part has no trailers.
                    Some(frame) => {
                        if let Ok(data) = frame?.into_data() {
                            return self.give(data);
                        }
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && matches!(self.current, Current::None)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
