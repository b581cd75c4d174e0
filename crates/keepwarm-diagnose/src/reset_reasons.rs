//! Reasons of resets, where the kernel's traces name them: evidence that only root has.

/// Resets, grouped by what they show of the client's habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ResetReasons {
    /// Sent by a client that closed with data unread (`TCP_ABORT_ON_CLOSE`).
    pub unread: u64,
    /// Sent by a client that received data after it had closed (`TCP_ABORT_ON_DATA`): the rest of a
    /// response, a late one, or a farewell of TLS (close_notify).
    pub after_close: u64,
    /// Sent by a client that gave the connection up on purpose (`TCP_STATE`): `SO_LINGER` 0, as a
    /// cancelled request does.
    pub given_up: u64,
    /// Received by a client that wrote after the server's FIN: a request that met the close.
    pub late_requests: u64,
}

impl ResetReasons {
    /// Groups the resets that clients sent, by the kernel's names of their reasons (`enum
    /// sk_rst_reason`, without `SK_RST_REASON_`). Other reasons are no evidence here.
    #[must_use]
    pub fn of<'a>(
        by_client: impl IntoIterator<Item = (&'a str, u64)>,
        late_requests: u64,
    ) -> ResetReasons {
        let mut reasons = ResetReasons { late_requests, ..ResetReasons::default() };
        for (reason, count) in by_client {
            let group = match reason {
                "TCP_ABORT_ON_CLOSE" => &mut reasons.unread,
                "TCP_ABORT_ON_DATA" => &mut reasons.after_close,
                "TCP_STATE" | "TCP_ABORT_ON_LINGER" => &mut reasons.given_up,
                _ => continue,
            };
            *group = group.saturating_add(count);
        }
        reasons
    }
}
