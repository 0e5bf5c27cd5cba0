//! The kernel's own word on who was killed for want of memory, or could start no further process.
//!
//! Of the one the engine hears by an event that may come too late or, with control groups of version 1, not at all, of the
//! other never, and who it was it never says. The kernel's log names the container. It is read only where something in it was
//! or may have been killed, or where what was counted leaves the question open; where it cannot be read (no right to it, a
//! line lost to its rate limit) the answer is no.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use shared::link::KilledProcess;

/// Where each read gives one record, the oldest first.
const KERNEL_LOG: &str = "/dev/kmsg";
/// More than the longest record.
const RECORD: usize = 8192;
/// More records than any kernel keeps: the log may grow while it is read.
const RECORDS: usize = 1_000_000;
/// What is below that was said by the kernel, and not by somebody who may write to its log.
const OTHERS: u32 = 8;
/// Bytes of a name, of which the kernel keeps no more.
const NAME: usize = 15;
/// How the kernel begins a byte that is no plain character: two hexadecimal digits follow.
const ESCAPE: &str = "\\x";

/// What the kernel has killed in a container for want of memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Killed {
    /// Whether there was something.
    pub(super) any: bool,
    /// The last, where it was named.
    pub(super) last: Option<KilledProcess>,
}

/// What the kernel killed in the container for want of memory.
pub(super) async fn killed(id: &str) -> Killed {
    let mut search = Search::of(id);
    let read = tokio::task::spawn_blocking(move || {
        // What was found before it failed is true.
        let _ = each_record(Path::new(KERNEL_LOG), |record| {
            search.take(record);
            true
        });
        search.found
    });
    read.await.unwrap_or_default()
}

/// Whether the kernel refused the container a process, because it had as many as it may have. It says so once for each.
pub(super) async fn was_refused(id: &str) -> bool {
    let id = id.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut found = false;
        let _ = each_record(Path::new(KERNEL_LOG), |record| {
            found = names_refused(record, &id);
            !found
        });
        found
    });
    read.await.unwrap_or(false)
}

/// Reads the log until `take` wants no more.
fn each_record(log: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open(log)?;
    let mut record = vec![0; RECORD];
    for _ in 0..RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) if take(&record[..length]) => {}
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Overwritten while it was read: the next read goes on behind.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Goes through the records in their order: one names the control group, a later one says what became of the process.
#[derive(Debug)]
struct Search {
    id: String,
    /// Whether the kernel is about to kill something in the container.
    next: Option<Next>,
    found: Killed,
}

/// What is killed next.
#[derive(Debug)]
enum Next {
    /// This process.
    Process(String),
    /// Whichever it is: the kernel has not said.
    Any,
}

impl Search {
    fn of(id: &str) -> Self {
        Self { id: id.to_owned(), next: None, found: Killed::default() }
    }

    fn take(&mut self, record: &[u8]) {
        let Some(text) = message(record) else { return };
        if let Some(choice) = Choice::said(text) {
            self.next = None;
            if choice.group.contains(&self.id) {
                self.found.any = true;
                self.found.last = choice.process.map(|(name, _)| KilledProcess { name: printable(name), bytes: None });
                self.next = Some(choice.process.map_or(Next::Any, |(_, number)| Next::Process(number.to_owned())));
            }
        } else if let Some(end) = End::said(text) {
            let is_it = match &self.next {
                None => false,
                Some(Next::Any) => true,
                Some(Next::Process(number)) => number == end.number,
            };
            if is_it {
                self.next = None;
                self.found.last = Some(KilledProcess { name: printable(end.name), bytes: end.bytes });
            }
        }
    }
}

/// The process that is about to be killed.
struct Choice<'a> {
    group: &'a str,
    /// Its name, and its number.
    process: Option<(&'a str, &'a str)>,
}

impl<'a> Choice<'a> {
    /// `oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/docker/<id>,task=sh,pid=7,uid=0`, or, before Linux 5.0,
    /// `Task in /docker/<id> killed as a result of limit of /docker/<id>`.
    fn said(text: &'a str) -> Option<Self> {
        if let Some(said) = text.strip_prefix("oom-kill:") {
            let (_, said) = said.split_once("task_memcg=")?;
            let (group, said) = said.split_once(",task=").unwrap_or((said, ""));
            // From the end: in a name there may be anything.
            let process = said.rsplit_once(",uid=").and_then(|(said, _)| said.rsplit_once(",pid="));
            return Some(Self { group, process });
        }
        let (group, _) = text.strip_prefix("Task in ")?.split_once(" killed as a result of limit of ")?;
        Some(Self { group, process: None })
    }
}

/// One that was killed.
struct End<'a> {
    number: &'a str,
    name: &'a str,
    bytes: Option<u64>,
}

impl<'a> End<'a> {
    /// `Memory cgroup out of memory: Killed process 7 (sh) total-vm:4400kB, anon-rss:400kB, file-rss:...`; in older ones the first
    /// words are missing, or there is more behind the name.
    fn said(text: &'a str) -> Option<Self> {
        let (_, said) = text.split_once("Killed process ")?;
        let (number, said) = said.split_once(" (")?;
        // From the end: in a name there may be anything.
        let (said, amounts) = said.rsplit_once("total-vm:")?;
        let (name, _) = said.rsplit_once(')')?;
        let own = amounts.split_once("anon-rss:").and_then(|(_, own)| own.split_once("kB"));
        let bytes = own.and_then(|(kib, _)| kib.parse::<u64>().ok()?.checked_mul(1024));
        Some(Self { number, name, bytes })
    }
}

/// `cgroup: fork rejected by pids controller in /docker/<id>`
fn names_refused(record: &[u8], id: &str) -> bool {
    let group = message(record).and_then(|text| text.split_once("fork rejected by pids controller in "));
    group.is_some_and(|(_, group)| group.contains(id))
}

/// What the kernel says in a record: `6,1,2,-;text`, and lines for machines behind it. All of it is plain characters.
fn message(record: &[u8]) -> Option<&str> {
    let (head, text) = std::str::from_utf8(record).ok()?.split_once(';')?;
    let from = head.split(',').next()?.parse::<u32>().ok()?;
    (from < OTHERS).then(|| text.lines().next().unwrap_or_default())
}

/// A name as it stands in the log.
fn printable(name: &str) -> String {
    let mut parts = name.split(ESCAPE);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part.split_at_checked(2).and_then(|(digits, rest)| Some((hex(digits)?, rest)));
        match escaped {
            Some((byte, rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            None => {
                bytes.extend_from_slice(ESCAPE.as_bytes());
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    bytes.truncate(NAME);
    String::from_utf8_lossy(&bytes).escape_debug().to_string()
}

fn hex(digits: &str) -> Option<u8> {
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1cc3e057d311fa0f538880f108953da4655ca4bba92a1c276b20db6b7d5cfdbe";
    const OTHER: &str = "06e64dd3cd14195831b8b143b2c58a5e152c96ec06f75686bdc14836af22b4bb";

    /// What is found of one in these records, in each of which `ID` and `OTHER` stand for a container.
    fn found(records: &[&str]) -> Killed {
        let mut search = Search::of(ID);
        for record in records {
            search.take(record.replace("<ID>", ID).replace("<OTHER>", OTHER).as_bytes());
        }
        search.found
    }

    fn named(name: &str, bytes: Option<u64>) -> Killed {
        Killed { any: true, last: Some(KilledProcess { name: name.to_owned(), bytes }) }
    }

    /// Linux 6.18 with control groups of version 1.
    const FIRST: [&str; 3] = [
        "4,224983,39441147560,-;tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n",
        "6,225096,39441148163,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=<ID>,mems_allowed=0,\
         oom_memcg=/docker/cloudai-01m8gv8cg9c1w0rz59vk6kttb9.0-3/<ID>,\
         task_memcg=/docker/cloudai-01m8gv8cg9c1w0rz59vk6kttb9.0-3/<ID>,task=tail,pid=7436,uid=0\n",
        "3,225097,39441148180,-;Memory cgroup out of memory: Killed process 7436 (tail) total-vm:34384kB, anon-rss:32128kB, \
         file-rss:1264kB, shmem-rss:0kB, UID:0 pgtables:108kB oom_score_adj:0\n",
    ];
    /// With control groups of version 2, and systemd.
    const SECOND: [&str; 2] = [
        "6,9001,55000000,-,caller=T881;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-<ID>.scope,\
         mems_allowed=0,oom_memcg=/system.slice/docker-<ID>.scope,task_memcg=/system.slice/docker-<ID>.scope,\
         task=python3,pid=881,uid=1000\n",
        "3,9002,55000010,-,caller=T881;Memory cgroup out of memory: Killed process 881 (python3) total-vm:1063444kB, \
         anon-rss:1040120kB, file-rss:8540kB, shmem-rss:0kB, UID:1000 pgtables:2132kB oom_score_adj:0\n SUBSYSTEM=x\n",
    ];
    /// Linux 4.15, and 3.10 as it was sold for long.
    const OLD: [&str; 4] = [
        "6,800,7000,-;Task in /docker/<ID> killed as a result of limit of /docker/<ID>\n",
        "6,801,7001,-;memory: usage 65536kB, limit 65536kB, failcnt 77\n",
        "3,802,7002,-;Memory cgroup out of memory: Kill process 28433 (stress) score 1004 or sacrifice child\n",
        "3,803,7003,-;Killed process 28433 (stress), UID 0, total-vm:73152kB, anon-rss:65000kB, file-rss:4kB\n",
    ];

    #[test]
    fn who_was_killed_is_named_by_every_kernel() {
        assert_eq!(found(&FIRST), named("tail", Some(32128 * 1024)));
        assert_eq!(found(&SECOND), named("python3", Some(1_040_120 * 1024)));
        assert_eq!(found(&OLD), named("stress", Some(65_000 * 1024)));
        assert_eq!(found(&FIRST[..2]), named("tail", None), "what it had was not said");
        assert_eq!(found(&OLD[..3]), Killed { any: true, last: None }, "who it was neither");
        assert_eq!(found(&[FIRST.as_slice(), &SECOND].concat()), named("python3", Some(1_040_120 * 1024)), "the last");
        let inner = FIRST.map(|record| record.replace("<ID>,task=", "<ID>/inner,task="));
        assert_eq!(found(&inner.each_ref().map(String::as_str)), named("tail", Some(32128 * 1024)));
        let cut = "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/x,task_memcg=/docker/<ID>,task=sh";
        assert_eq!(found(&[cut, FIRST[2]]), named("tail", Some(32128 * 1024)));
    }

    #[test]
    fn what_was_killed_elsewhere_is_not_it() {
        let of_another = |record: &&str| record.replace("<ID>", "<OTHER>");
        let others =
            [FIRST.as_slice(), &SECOND, &OLD].map(|records| records.iter().map(of_another).collect::<Vec<_>>());
        for records in &others {
            let records: Vec<_> = records.iter().map(String::as_str).collect();
            assert_eq!(found(&records), Killed::default());
        }
        // Between what the kernel says of the container, or right behind it.
        let other = &others[0];
        let between = [FIRST[1], other[1].as_str(), other[2].as_str(), FIRST[2]];
        assert_eq!(found(&between), named("tail", None), "the kernel kills one after the other");
        let another = FIRST[2].replace("7436 (tail)", "7437 (head)");
        assert_eq!(found(&[FIRST[1], another.as_str()]), named("tail", None));
        assert_eq!(found(&[FIRST[1], FIRST[2], another.as_str()]), named("tail", Some(32128 * 1024)));
        assert_eq!(found(&["6,1,2,-;veth of <ID> went away", FIRST[2]]), Killed::default());
        // By somebody who may write there.
        let forged = FIRST.map(|record| format!("1{record}"));
        assert_eq!(found(&forged.each_ref().map(String::as_str)), Killed::default());
        assert!(message(b"\xff\xfe").is_none() && message(b"").is_none() && message(b"x;y").is_none());
    }

    #[test]
    fn names_may_have_anything_in_them() {
        for (logged, name) in [
            (") total-vm:1kB", ") total-vm:1kB"),
            ("a,pid=1,uid=0", "a,pid=1,uid=0"),
            ("a,task=b (c", "a,task=b (c"),
            ("\\x0aoom-kill:", "\\noom-kill:"),
            ("\\x1b[2J\\x5cx", "\\u{1b}[2J\\\\x"),
            ("\\xc3\\xa9t\\xc3\\xa9", "été"),
            ("\\xff\\", "\u{fffd}\\\\"),
            ("\\xzz\\x1", "\\\\xzz\\\\x1"),
            ("sixteen-or-more-x", "sixteen-or-more"),
            ("", ""),
        ] {
            let records = FIRST.map(|record| {
                record.replace("task=tail", &format!("task={logged}")).replace("(tail)", &format!("({logged})"))
            });
            let records = records.each_ref().map(String::as_str);
            assert_eq!(found(&records), named(name, Some(32128 * 1024)), "{logged}");
            assert_eq!(found(&records[..2]), named(name, None), "{logged}");
        }
    }

    #[test]
    fn the_refused_one_is_named_by_its_control_group() {
        let of = |group: &str| format!("6,1,2,-;cgroup: fork rejected by pids controller in {group}");
        for group in [format!("/docker/{ID}"), format!("/docker/cloudai-x/{ID}")] {
            assert!(names_refused(of(&group).as_bytes(), ID), "{group}");
        }
        assert!(!names_refused(of("/docker/2cc3").as_bytes(), ID));
        assert!(!names_refused(format!("6,1,2,-;oom-kill:x,task_memcg=/docker/{ID}").as_bytes(), ID));
    }

    #[test]
    fn a_log_is_read_to_its_end_or_as_far_as_is_wanted() {
        let folder = tempfile::tempdir().expect("a directory");
        let log = folder.path().join("kmsg");
        std::fs::write(&log, vec![b'x'; RECORD + 1]).expect("a log");
        let lengths = |most: usize| {
            let mut lengths = Vec::new();
            each_record(&log, |record| {
                lengths.push(record.len());
                lengths.len() < most
            })?;
            Ok::<_, io::Error>(lengths)
        };
        assert_eq!(lengths(9).expect("a log"), [RECORD, 1]);
        assert_eq!(lengths(1).expect("a log"), [RECORD]);
        assert!(each_record(&folder.path().join("none"), |_| true).is_err());
    }
}
