//! Which targets a peer may name.
use crate::config::HostPort;
use std::net::IpAddr;
/// `--allow` and `--deny`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {}
/// no
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Denied {}
impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}
impl Rules {
    /// a
    pub fn may_allow(&self, _: &HostPort) -> Result<(), Denied> {
        Ok(())
    }
    /// b
    pub fn check(&self, _: &HostPort, _: IpAddr) -> Result<(), Denied> {
        Ok(())
    }
}
