//! A network namespace of a test's own, without the connections, counters and settings of other
//! processes.
//!
//! Owns the process that keeps the namespace alive. That process ends with the value, and with this
//! process, however this process ends. Takes root, and the programs `unshare` and `ip`.

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
    /// Makes a namespace. The calling thread stays in its own.
    ///
    /// # Errors
    /// Without root, or without the programs `unshare` and `ip`.
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

    /// Moves the calling thread, and the processes and threads that it starts later, into the
    /// namespace.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs `act` within the namespace, and returns to the thread's own. Sockets made there stay
    /// there.
    ///
    /// # Errors
    /// The operating system's error, or that of `act`.
    ///
    /// # Panics
    /// If the thread cannot return: the rest of the test would run in the wrong namespace.
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

    /// Returns the process that keeps the namespace alive.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.keeper.id()
    }

    /// Joins two namespaces by a pair of devices (veth(4)), with these addresses of one /30 network.
    ///
    /// # Errors
    /// The program `ip` fails.
    pub fn join(&self, name: &str, address: &str, other: &Namespace, peer: &str) -> io::Result<()> {
        let (here, there) = (format!("{name}a"), format!("{name}b"));
        let pid = other.process();
        self.run(&format!("ip link add {here} type veth peer name {there} netns {pid}"))?;
        for (namespace, device, address) in [(self, here, address), (other, there, peer)] {
            namespace.run(&format!("ip addr add {address}/30 dev {device}"))?;
            namespace.run(&format!("ip link set {device} up"))?;
        }
        Ok(())
    }

    /// Runs a program within the namespace.
    ///
    /// # Errors
    /// The program does not start, or fails.
    pub fn run(&self, command: &str) -> io::Result<()> {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let status = self.inside(|| Command::new(program).args(words).status())?;
        let failed = || io::Error::other(format!("{command}: {status}"));
        if status.success() { Ok(()) } else { Err(failed()) }
    }

    /// Sets a setting of the namespace below `net.ipv4`.
    ///
    /// # Errors
    /// The operating system's error.
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

/// Returns the namespace of a process, once the process has reported that it is in its own.
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
    // Fails if the process has already ended, which is as good.
    let _ = keeper.kill();
    let _ = keeper.wait();
}
