//! D5: a limit of requests on each connection.

use super::advise;
use crate::knowledge::Kind::{Apache, Java, Nginx};
use crate::knowledge::range::{ANY, before, since};
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
    advise(
        "D5",
        (Nginx, before("1.19.10")),
        &["keepalive_requests"],
        "raise keepalive_requests (100 by default before 1.19.10)",
        source::NGINX_CORE,
    ),
    advise(
        "D5",
        (Nginx, since("1.19.10")),
        &["keepalive_requests"],
        "raise keepalive_requests (1000 by default)",
        source::NGINX_CORE,
    ),
    advise(
        "D5",
        (Java, ANY),
        &["maxKeepAliveRequests"],
        "as a server: maxKeepAliveRequests of Tomcat (100 by default)",
        source::TOMCAT,
    ),
    advise(
        "D5",
        (Apache, ANY),
        &["MaxKeepAliveRequests"],
        "raise MaxKeepAliveRequests (100 by default; 0 is no limit)",
        source::APACHE,
    ),
];
