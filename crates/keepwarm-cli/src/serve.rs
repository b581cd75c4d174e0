//! `keepwarm serve`: the experiment's services by hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use keepwarm_lab::Router;
use keepwarm_lab::{data, front};
use tokio::io::AsyncReadExt;

use crate::args::{ServeOptions, Service};
use crate::exit::{Exit, Failure};
use crate::{interrupt, limits, output};

/// The post's ports.
const DATA_PORT: u16 = 8081;
const FRONT_PORT: u16 = 8080;

pub(crate) fn run(service: &Service) -> Result<(), Failure> {
    limits::make_room(0, "close some")?;
    let failed = |error| limits::refused(Exit::Failed, "cannot start a runtime", &error);
    let workers = limits::cores();
    // Two more than the workers: one reads standard input, one looks a name up.
    limits::try_threads(workers + 2).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        match service {
            Service::Data { common } => {
                serve(common, DATA_PORT, "/data", async || Ok(data::router())).await
            }
            Service::Front { common, upstream, client, upstream_timeout } => {
                // Inside the runtime: a client belongs to the one it runs on.
                let router = async || {
                    front::router(upstream, *client, *upstream_timeout).map_err(|error| {
                        let way_out = "write --upstream http://HOST:PORT/PATH";
                        Failure::new(Exit::Usage, format!("{error}; {way_out}"))
                    })
                };
                serve(common, FRONT_PORT, "/stresstest", router).await
            }
        }
    })
}

async fn serve(
    options: &ServeOptions,
    default_port: u16,
    path: &str,
    router: impl AsyncFnOnce() -> Result<Router, Failure>,
) -> Result<(), Failure> {
    let router = router().await?;
    let address =
        options.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, default_port)));
    let listener = keepwarm_lab::listen(address).map_err(|error| cannot_listen(address, &error))?;
    let address = listener.local_addr().unwrap_or(address);
    // The parent reads the port from this line.
    output::print(&format!("listening on http://{address}{path}\n"))?;
    let with_stdin = options.stop_with_stdin;
    let stop = async move {
        tokio::select! {
            result = interrupt::arrives() => drop(result),
            () = stdin_ends(), if with_stdin => {}
        }
    };
    keepwarm_lab::serve(listener, router, stop)
        .await
        .map_err(|error| Failure::new(Exit::Failed, format!("{address}: {error}")))
}

/// The failure to listen on an address, with the way out.
pub(crate) fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let port = address.port();
    // An address of IPv6 has brackets where a port follows.
    let with_port = |port| SocketAddr::new(address.ip(), port);
    let here: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::ADDRINUSE) => Failure::new(
            Exit::Listen,
            format!(
                "cannot listen on {address}: the port is taken; stop what uses it (`ss -tlnp sport \
                 = :{port}` names it), or choose another with --listen {}",
                with_port(0)
            ),
        ),
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Failure::new(
            Exit::FileTable,
            format!(
                "cannot listen on {address}: the file table is full; raise it with `ulimit -n`"
            ),
        ),
        Some(rustix::io::Errno::ADDRNOTAVAIL) => Failure::new(
            Exit::Listen,
            format!(
                "cannot listen on {address}: this host does not have that address; `ip addr` lists \
                 those it has, and {} is for this host alone",
                SocketAddr::new(here, port)
            ),
        ),
        Some(rustix::io::Errno::ACCESS) => Failure::new(
            Exit::Listen,
            format!(
                "cannot listen on {address}: ports below 1024 take root; choose another with \
                 --listen {}",
                with_port(8080)
            ),
        ),
        _ => Failure::new(Exit::Listen, format!("cannot listen on {address}: {error}")),
    }
}

async fn stdin_ends() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while matches!(stdin.read(&mut ignored).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn way_out_is_an_address_of_the_family() {
        let said = |address: &str, errno: Errno| {
            let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
            cannot_listen(address.parse().unwrap(), &error).to_string()
        };
        for (address, errno, way_out) in [
            ("[::1]:9465", Errno::ADDRINUSE, "--listen [::1]:0"),
            ("127.0.0.1:9465", Errno::ADDRINUSE, "--listen 127.0.0.1:0"),
            ("[2001:db8::1]:9465", Errno::ADDRNOTAVAIL, "[::1]:9465 is for this host alone"),
            ("10.9.9.9:9465", Errno::ADDRNOTAVAIL, "127.0.0.1:9465 is for this host alone"),
            ("[::]:80", Errno::ACCESS, "--listen [::]:8080"),
        ] {
            let said = said(address, errno);
            assert!(said.contains(way_out), "{said}");
        }
    }
}
