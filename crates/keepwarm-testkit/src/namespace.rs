//! A network namespace of a test's own: nobody else's connections, counters and settings in it.
//!
//! Owns the process that keeps the namespace alive; that ends with the value, and with this
//! process, whatever ends it. Takes root, and the programs `unshare` and `ip`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace whose loopback is up.
#[derive(Debug)]
pub struct Namespace {
    keeper: Child,
    file: File,
}

impl Namespace {
    /// Makes one. The calling thread stays where it is.
    ///
    /// # Errors
    /// Without root, or without the programs that it takes.
    pub fn make() -> io::Result<Namespace> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        match opened(&mut keeper) {
            Ok(file) => Ok(Namespace { keeper, file }),
            Err(error) => {
                end(&mut keeper);
                Err(error)
            }
        }
    }

    /// Moves the calling thread, and what it starts from now on, into the namespace.
    ///
    /// # Errors
    /// What the system says.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Acts within the namespace, and comes back. Sockets that are made there stay there.
    ///
    /// # Errors
    /// What the system says, or the act.
    ///
    /// # Panics
    /// If the way back is closed: what follows would happen in the wrong place.
    pub fn inside<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        struct Back(File);
        impl Drop for Back {
            fn drop(&mut self) {
                let back =
                    move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network));
                back.expect("the namespace that the thread came from");
            }
        }
        let _back = Back(File::open("/proc/thread-self/ns/net")?);
        self.enter()?;
        act()
    }

    /// Runs a program within the namespace.
    ///
    /// # Errors
    /// If it does not start, or fails.
    pub fn run(&self, command: &str) -> io::Result<()> {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let status = self.inside(|| Command::new(program).args(words).status())?;
        let failed = || io::Error::other(format!("{command}: {status}"));
        if status.success() { Ok(()) } else { Err(failed()) }
    }

    /// Sets one of the namespace's own settings below `net.ipv4`.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(&self, name: &str, value: impl std::fmt::Display) -> io::Result<()> {
        let path = format!("/proc/sys/net/ipv4/{name}");
        self.inside(|| fs::write(path, value.to_string()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        end(&mut self.keeper);
    }
}

/// The namespace of a process that says so when it is in its own.
fn opened(keeper: &mut Child) -> io::Result<File> {
    let stdout = keeper.stdout.take().map(BufReader::new);
    match stdout.and_then(|stdout| stdout.lines().next()) {
        Some(Ok(line)) if line == "up" => File::open(format!("/proc/{}/ns/net", keeper.id())),
        other => {
            Err(io::Error::other(format!("no network namespace, which takes root: {other:?}")))
        }
    }
}

fn end(keeper: &mut Child) {
    // One that has ended already is none to end.
    let _ = keeper.kill();
    let _ = keeper.wait();
}
