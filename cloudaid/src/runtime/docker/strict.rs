//! The `strict` profile: for programs of people who are not trusted. A program that needs less than root runs in it as it
//! does elsewhere.

use bollard::models::HostConfig;

use super::spec::{TEMPORARY, ulimit};

/// Nobody, as most systems have them.
const NOBODY: &str = "65534:65534";
/// Open files of one process.
const FILES: i64 = 1024;
/// Read-only roots have no other place for what is not kept: 64 MiB of memory, which count as the container's own.
const TEMPORARY_OPTIONS: &str = "rw,noexec,nosuid,nodev,size=67108864,mode=1777";

/// Takes from the `standard` profile what the strict one does not have. `volumes` are places that the image wants kept: the
/// engine would give them room on the disk that nobody counts.
pub(super) fn confine(host: HostConfig, volumes: &[String]) -> HostConfig {
    let temporary = volumes.iter().map(String::as_str).chain([TEMPORARY]);
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        tmpfs: Some(temporary.map(|place| (place.to_owned(), TEMPORARY_OPTIONS.to_owned())).collect()),
        ulimits: Some(vec![ulimit("core", 0), ulimit("nofile", FILES)]),
        ..host
    }
}

/// The image's own user, if that is surely not root: a number, because what a name means is for the image to say.
pub(super) fn user(of_image: Option<&str>) -> String {
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
    let is_harmless = |text: &&str| match text.split_once(':') {
        Some((user, group)) => is_number(user) && is_number(group),
        None => is_number(text),
    };
    match of_image.filter(is_harmless) {
        // Without a group the engine would take root's.
        Some(user) if !user.contains(':') => format!("{user}:{user}"),
        Some(both) => both.to_owned(),
        None => NOBODY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_root() {
        assert_eq!(user(Some("1000:100")), "1000:100");
        assert_eq!(user(Some("1000")), "1000:1000");
        for other in [
            None,
            Some(""),
            Some("0"),
            Some("root"),
            Some("app"),
            Some("1000:0"),
            Some("00:5"),
            Some("app:5"),
            Some("-1"),
        ] {
            assert_eq!(user(other), NOBODY, "{other:?}");
        }
    }
}
