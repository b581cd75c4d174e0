//! Why connections were reset, where the kernel's traces tell it: evidence that only root has.

/// Resets by what they say of the client's habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Resets {
    /// Sent by a client that closed with data unread (`TCP_ABORT_ON_CLOSE`), or to which more came
    /// after it had closed (`TCP_ABORT_ON_DATA`): it left a response in the midst.
    pub unread: u64,
    /// Sent by a client that gave the connection up on purpose (`TCP_STATE`): `SO_LINGER` 0, as a
    /// cancelled request does.
    pub given_up: u64,
    /// Got by a client that wrote after the server's FIN: a request that met the close.
    pub late_requests: u64,
}

impl Resets {
    /// From the resets that clients sent, by the kernel's names of their reasons (`enum
    /// sk_rst_reason`, without `SK_RST_REASON_`). Other reasons say nothing here.
    #[must_use]
    pub fn of<'a>(
        by_client: impl IntoIterator<Item = (&'a str, u64)>,
        late_requests: u64,
    ) -> Resets {
        let mut resets = Resets { late_requests, ..Resets::default() };
        for (reason, count) in by_client {
            match reason {
                "TCP_ABORT_ON_CLOSE" | "TCP_ABORT_ON_DATA" => {
                    resets.unread = resets.unread.saturating_add(count)
                }
                "TCP_STATE" | "TCP_ABORT_ON_LINGER" => {
                    resets.given_up = resets.given_up.saturating_add(count)
                }
                _ => {}
            }
        }
        resets
    }

    /// Resets that the client sent, for one of the two reasons.
    pub(crate) const fn by_client(&self) -> u64 {
        self.unread.saturating_add(self.given_up)
    }
}
