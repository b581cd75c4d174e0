//! All situations, by what they try.

mod closes;
mod further;
mod others;
mod requests;
mod silence;

use crate::situation::Situation;

pub(crate) fn all() -> impl Iterator<Item = &'static Situation> {
    let files = [requests::ALL, closes::ALL, silence::ALL, others::ALL, further::ALL];
    files.into_iter().flatten()
}
