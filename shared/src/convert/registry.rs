//! What registries know us by.

use std::fmt;

use crate::proto;
use crate::pull::RegistryLogin;

/// Without the password.
impl fmt::Debug for proto::RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

impl From<RegistryLogin> for proto::RegistryLogin {
    fn from(login: RegistryLogin) -> Self {
        Self { username: login.username, password: login.password }
    }
}

impl From<proto::RegistryLogin> for RegistryLogin {
    fn from(wire: proto::RegistryLogin) -> Self {
        Self { username: wire.username, password: wire.password }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_a_password_by_chance() {
        let login = RegistryLogin { username: "ann".to_owned(), password: "secret".to_owned() };
        let wire = proto::RegistryLogin::from(login.clone());
        assert!(format!("{wire:?} {login:?}").contains("ann"));
        assert!(!format!("{wire:?} {login:?}").contains("secret"));
        assert_eq!(RegistryLogin::from(wire), login);
    }
}
