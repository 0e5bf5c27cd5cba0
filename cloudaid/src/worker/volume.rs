//! A file system of its own for the /output of a strict task: a sparse file as large as the task may store, with ext4 in
//! it, so that a full one is full, whatever the program does, and nothing in it is run or is a device. Where the machine
//! has no means for that, outputs are measured (see `storage`).
//!
//! The file is mounted twice: by the engine for the container, which may live in another mount namespace than this process
//! and so is given the loop device, and by us, to read what is left. Ours outlives this process, and not a reboot: it is
//! looked at again before a container is started, which would else get whatever has its device by then.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use shared::resources::MIB;

use super::data_dir::{remove_tree, sync_parent};
use super::program;

/// What a trial is made in.
const TRIAL: &str = "volume-trial";
/// Of the run's file system, beside its `output`.
const IMAGE: &str = "output.img";
/// What nobody may do with what is in it.
const OPTIONS: &str = "nosuid,nodev,noexec";
/// Files and folders: one for so many bytes, but not fewer or more than these.
const BYTES_PER_INODE: u64 = 16 * 1024;
const INODES: (u64, u64) = (1024, 1_000_000);
/// What ext4 needs for itself, besides a part of the whole: tables, and a journal. And what is left in one that is full.
const INODE_BYTES: u64 = 256;
const AROUND: u64 = 9 * MIB + FULL;
const WHOLE_PER_AROUND: u64 = 64;
/// With less than this left it is full: the kernel takes a write in pieces of its page cache, of up to 2 MiB each, and takes
/// back the whole of a piece that has no room. So much is there beyond what the task may store that nobody who keeps to
/// that has a full one, however small it is.
const FULL: u64 = 2 * MIB;
/// The same for one that an earlier version has made, with less around it.
const FULL_BEFORE: u64 = 64 * 1024;
/// How long it is waited at the start for one to be made.
const TRIAL_LIMIT: Duration = Duration::from_secs(30);

/// The /output of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    image: PathBuf,
    output: PathBuf,
    /// When nobody waits for it any more; none: it takes as long as it takes.
    until: Option<Instant>,
}

impl Volume {
    /// Of the run in this directory. It need not have one.
    pub(super) fn of(run: &Path) -> Self {
        Self { image: run.join(IMAGE), output: run.join("output"), until: None }
    }

    /// Whether the run has one.
    pub(super) fn exists(&self) -> bool {
        self.image.exists()
    }

    /// Makes it, as far as an earlier try has not, and mounts it. Returns its device.
    pub(super) fn ensure(&self, bytes: u64) -> io::Result<PathBuf> {
        if !self.exists() {
            let new = self.image.with_extension("new");
            fs::create_dir_all(&self.output)?;
            self.format(&new, bytes)?;
            File::open(&new)?.sync_all()?;
            fs::rename(new, &self.image)?;
            sync_parent(&self.image)?;
        }
        let device = self.mount()?;
        match fs::remove_dir(self.output.join("lost+found")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(device),
        }
    }

    /// Mounts it, if it is not: a reboot, or a manager that gives each process its own mounts, has taken that away. Returns
    /// its device.
    pub(super) fn mount(&self) -> io::Result<PathBuf> {
        if let Some(device) = self.device()? {
            return Ok(device);
        }
        let options = format!("loop,{OPTIONS}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", &options]).arg(&self.image).arg(&self.output);
        program::run(&mut mount, self.until)?;
        self.device()?.ok_or_else(|| io::Error::other("it was mounted and is not there"))
    }

    /// Whether the run has one, and nothing more can be written to it. `limit`: how many bytes it was to hold, if that is known.
    pub(super) fn is_full(&self, limit: Option<u64>) -> bool {
        let is_there = self.exists() && self.mount().is_ok();
        let stat = is_there.then(|| rustix::fs::statvfs(&self.output).ok()).flatten();
        stat.is_some_and(|stat| {
            stat.f_bavail.saturating_mul(stat.f_frsize) < self.full_below(limit) || stat.f_favail == 0
        })
    }

    /// Bytes that are stored in it, by the word of its file system; 0: it does not say.
    pub(super) fn stored(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.output);
        stat.map_or(0, |stat| stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize))
    }

    /// With less than this left it is full: in one that is smaller than it would be made now, what it may hold leaves no more.
    fn full_below(&self, limit: Option<u64>) -> u64 {
        let length = fs::metadata(&self.image).map_or(0, |image| image.len());
        if limit.is_some_and(|limit| length >= length_for(limit)) { FULL } else { FULL_BEFORE }
    }

    /// Unmounts it; its file is left to whoever removes the run.
    pub(super) fn close(&self) -> io::Result<()> {
        while self.device()?.is_some() {
            // A reader that is still in it must not keep the run.
            unmount(&self.output, UnmountFlags::DETACH)?;
        }
        Ok(())
    }

    /// Makes the file, with room for `bytes` of what is stored in files.
    fn format(&self, image: &Path, bytes: u64) -> io::Result<()> {
        let inodes = inodes_for(bytes);
        File::create(image)?.set_len(length_for(bytes))?;
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-m", "0", "-J", "size=4", "-N", &inodes.to_string()]);
        mkfs.args(["-O", "^resize_inode", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]);
        program::run(mkfs.arg(image), self.until)
    }

    fn device(&self) -> io::Result<Option<PathBuf>> {
        // The path itself may go through links.
        let Ok(output) = fs::canonicalize(&self.output) else { return Ok(None) };
        Ok(device_at(&fs::read("/proc/self/mountinfo")?, &output))
    }
}

fn inodes_for(bytes: u64) -> u64 {
    (bytes / BYTES_PER_INODE).clamp(INODES.0, INODES.1)
}

/// Of the file, in bytes, for so many in it.
fn length_for(bytes: u64) -> u64 {
    let around = inodes_for(bytes) * INODE_BYTES + bytes / WHOLE_PER_AROUND + AROUND;
    bytes.saturating_add(around)
}

/// Tries whether this machine has the means; a directory of its disk is enough to know. What takes longer than anybody waits is
/// ended, and nothing of it stays: the directory is held until then.
///
/// # Errors
/// It has not, in words, or does not say so in time.
pub(super) async fn can_be_had(data: impl AsRef<Path> + Send + 'static) -> Result<(), String> {
    can_be_had_within(TRIAL_LIMIT, data).await
}

async fn can_be_had_within(limit: Duration, data: impl AsRef<Path> + Send + 'static) -> Result<(), String> {
    let until = Instant::now() + limit;
    let late = || format!("one is not made within {} s", limit.as_secs());
    // With the directory, and not only its path.
    let tried = tokio::task::spawn_blocking(move || try_out(data.as_ref(), Some(until)));
    match tokio::time::timeout(limit, tried).await {
        Ok(Ok(tried)) => tried.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => late(),
            _ => error.to_string(),
        }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(late()),
    }
}

/// Makes one in this directory, of which nothing stays.
pub(super) fn try_out(data: &Path, until: Option<Instant>) -> io::Result<()> {
    let trial = data.join(TRIAL);
    let tried = || {
        fs::create_dir_all(&trial)?;
        let volume = Volume { until, ..Volume::of(&trial) };
        // Of an earlier one that was killed in the middle.
        volume.close()?;
        volume.ensure(MIB)
    };
    let result = tried().map(drop);
    let removed = remove_trial(data);
    result.and(removed)
}

/// Removes what a trial has left in this directory that was killed in the middle.
pub(super) fn remove_trial(data: &Path) -> io::Result<()> {
    let trial = data.join(TRIAL);
    Volume::of(&trial).close()?;
    remove_tree(&trial)
}

/// What is mounted last at a place, by `/proc/self/mountinfo` (see proc(5)).
fn device_at(mounts: &[u8], place: &Path) -> Option<PathBuf> {
    let at = |line: &&[u8]| line.split(|byte| *byte == b' ').nth(4).is_some_and(|path| unescaped(path) == place);
    let line = mounts.split(|byte| *byte == b'\n').rfind(at)?;
    let mut behind = line.split(|byte| *byte == b' ').skip_while(|field| *field != b"-");
    behind.nth(2).map(unescaped)
}

/// Blanks and backslashes are written in octal there.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, more)) = rest.split_first() {
        let octal = more.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &more[3..] } else { more };
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// A disk that can be filled.
#[cfg(test)]
pub(super) mod testkit {
    use std::io::Write;

    use super::*;

    /// What a small disk holds, in bytes.
    pub(in crate::worker) const SMALL: u64 = 16 << 20;

    /// One of [`SMALL`], and where it is mounted; none where there are no means for that, which are root and loop devices.
    pub(in crate::worker) fn small_disk(scratch: &Path) -> Option<(Volume, PathBuf)> {
        let run = scratch.join("run");
        let volume = Volume::of(&run);
        if try_out(scratch, None).is_err() || volume.ensure(SMALL).is_err() {
            assert!(!rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists());
            return None;
        }
        Some((volume, run.join("output")))
    }

    /// Fills it to the last byte; returns the file that does.
    pub(in crate::worker) fn fill(disk: &Path) -> PathBuf {
        let path = disk.join("filler");
        let mut filler = File::create(&path).expect("a file");
        for chunk in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![1; chunk]).is_ok() {}
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_mounted_is_found_under_any_name() {
        let mounts = b"36 35 98:0 / / rw - ext4 /dev/vda rw\n\
            37 36 7:1 / /data/a\\040b\\134 rw,nosuid shared:1 - ext4 /dev/loop1 rw\n\
            38 36 7:2 / /data/a\\040b\\134 rw - ext4 /dev/loop2 rw\n";
        assert_eq!(device_at(mounts, Path::new("/data/a b\\")), Some("/dev/loop2".into()));
        assert_eq!(device_at(mounts, Path::new("/data")), None);
        assert_eq!(device_at(b"", Path::new("/data")), None);
    }

    #[tokio::test]
    async fn a_trial_that_takes_too_long_leaves_nothing_behind() {
        let scratch = tempfile::tempdir().expect("a directory");
        let place = tempfile::tempdir_in(scratch.path()).expect("a directory");
        let answer = can_be_had_within(Duration::ZERO, place).await;
        assert_eq!(answer, Err("one is not made within 0 s".to_owned()));
        crate::worker::tests::wait_for("the end of it", || {
            fs::read_dir(scratch.path()).expect("a directory").next().is_none()
        })
        .await;
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&scratch.path().display().to_string()), "{mounts}");
    }

    #[test]
    fn it_holds_what_was_asked_for_and_no_more() {
        let scratch = tempfile::tempdir().expect("a directory");
        if let Err(reason) = try_out(scratch.path(), None) {
            // The rest of it needs root and loop devices.
            assert!(!rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists(), "{reason}");
            return;
        }
        assert_eq!(fs::read_dir(scratch.path()).expect("a directory").count(), 0, "nothing is left of the trial");
        // Blocks are small or large; of the third size ext4 keeps the most for itself.
        for bytes in [MIB, 64 * MIB, 760 * MIB, 3072 * MIB] {
            let volume = Volume::of(&scratch.path().join(bytes.to_string()));
            assert!(!volume.exists());
            let device = volume.ensure(bytes).expect("made");
            assert_eq!(volume.ensure(bytes).expect("found"), device);
            let stat = rustix::fs::statvfs(&volume.output).expect("it is mounted");
            let room = stat.f_bavail * stat.f_frsize;
            assert!(room >= bytes + FULL && room < bytes + bytes / 16 + 16 * MIB, "{room} for {bytes}");
            assert!(!volume.is_full(Some(bytes)));
            assert_eq!(fs::read_dir(&volume.output).expect("it is mounted").count(), 0);
            if bytes == MIB {
                let allowed = vec![1; usize::try_from(bytes).expect("small")];
                fs::write(volume.output.join("f"), allowed).expect("there is room for all that it may store");
                assert!(!volume.is_full(Some(bytes)), "who keeps to the limit has no full one");
                let full = vec![1; usize::try_from(room).expect("small") + 1];
                assert!(fs::write(volume.output.join("f"), full).is_err(), "there is no more room");
                assert!(volume.is_full(Some(bytes)));
                assert!(volume.stored() >= bytes, "{} stored", volume.stored());
            }
            fs::write(volume.output.join("kept"), "").expect("an empty one needs no room");
            volume.close().expect("closed");
            volume.close().expect("closed twice");
            assert_eq!(volume.is_full(Some(bytes)), bytes == MIB, "it is mounted for the look");
            volume.close().expect("closed");
            volume.mount().expect("mounted again");
            assert!(volume.output.join("kept").exists());
            volume.close().expect("closed");
        }
    }

    #[test]
    fn one_of_an_earlier_version_is_not_full_with_what_that_left_free() {
        let scratch = tempfile::tempdir().expect("a directory");
        let volume = Volume::of(scratch.path());
        for limit in [MIB, 64 * MIB, 3072 * MIB] {
            let now = length_for(limit);
            // That had 8 MiB around it.
            let earlier = now - AROUND + 8 * MIB;
            for (length, expected) in [(earlier, FULL_BEFORE), (now, FULL)] {
                File::create(&volume.image).and_then(|image| image.set_len(length)).expect("a file");
                assert_eq!(volume.full_below(Some(limit)), expected, "{length} for {limit}");
                assert_eq!(volume.full_below(None), FULL_BEFORE, "nobody knows what it may hold");
            }
        }
    }

    #[test]
    fn it_is_full_in_whatever_pieces_it_is_filled() {
        let scratch = tempfile::tempdir().expect("a directory");
        let Some((volume, output)) = testkit::small_disk(scratch.path()) else { return };
        for piece in [1, 64, 256, 1024, 8192] {
            let path = output.join("f");
            let mut file = File::create(&path).expect("a file");
            let piece = vec![1; piece * 1024];
            while file.write_all(&piece).is_ok() {}
            assert!(volume.is_full(Some(testkit::SMALL)), "after pieces of {} bytes", piece.len());
            drop(file);
            fs::remove_file(path).expect("removed");
            assert!(!volume.is_full(Some(testkit::SMALL)));
        }
        let many = (0..100_000).take_while(|number| fs::write(output.join(number.to_string()), "").is_ok()).count();
        assert!(
            many < 100_000 && volume.is_full(Some(testkit::SMALL)),
            "{many} files: there is room for no more names"
        );
        volume.close().expect("closed");
    }
}
