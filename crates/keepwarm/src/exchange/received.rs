//! A response as it is received: the parts of its head, its body, and its connection.

use http::{Extensions, HeaderMap, StatusCode, Version};

use super::response_body::{ConnectionInfo, ResponseBody};

/// A response whose body is still to be read. It has the parts of a [`http::Response`] in place,
/// where that would be made empty, filled, and moved once more.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
    pub(crate) body: ResponseBody,
    pub(crate) connection: ConnectionInfo,
}

impl Received {
    /// Converts into a response of the `http` crate, with the connection as an extension.
    pub(crate) fn into_http(self) -> http::Response<ResponseBody> {
        let Self { status, version, headers, extensions, body, connection } = self;
        let mut response = http::Response::new(body);
        *response.status_mut() = status;
        *response.version_mut() = version;
        *response.headers_mut() = headers;
        *response.extensions_mut() = extensions;
        response.extensions_mut().insert(connection);
        response
    }
}
