//! All situations, by what they try.

mod closes;
mod others;
mod requests;
mod silence;

use crate::situation::Situation;

pub(crate) fn all() -> impl Iterator<Item = &'static Situation> {
    let files = [requests::ALL, closes::ALL, silence::ALL, others::ALL];
    files.into_iter().flatten()
}
