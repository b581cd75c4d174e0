//! Memory that a burst took, given back to the system: for a watch that stays for weeks.
//!
//! Owns two thresholds of the C library's heap. A block of 128 KiB or more is memory of its own, and goes
//! back when it is freed; but each time that happens, glibc raises that threshold to the size of the block,
//! up to 32 MiB, and from twice as much on it gives the end of a heap back (mallopt(3), `M_MMAP_THRESHOLD`).
//! So a machine that was busy for a moment would leave a watch three times as large as it needs to be.
//! Thresholds that are set stay. Without foreign functions only the environment sets them, which is read
//! at the start of a program: so the program starts itself once more, in the same process.

/// The thresholds and their values, which are glibc's at the start.
const THRESHOLDS: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Starts this program once more with the thresholds set, unless one is. Comes before any thread is
/// started and any file is opened. Returns where that is not needed, or not possible.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn fix_thresholds() {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    let is_set = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    let arguments: Vec<_> = std::env::args_os().collect();
    // A file of arguments may be a pipe, which can be read once.
    let is_file = |argument: &std::ffi::OsString| argument.as_encoded_bytes().starts_with(b"@");
    if THRESHOLDS.iter().any(is_set) || arguments.iter().any(is_file) {
        return;
    }
    if let (Ok(program), [name, arguments @ ..]) = (std::env::current_exe(), &arguments[..]) {
        // Returns if the program is not there any more, say: the watch goes on as it is.
        let _ = Command::new(program).arg0(name).args(arguments).envs(THRESHOLDS).exec();
    }
}

/// Other C libraries give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn fix_thresholds() {
    let _ = THRESHOLDS;
}
