//! A disk that fails when it is told to, for tests.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::program::run;

/// Of what is below the disk, in bytes, and what the disk says that it has.
const BELOW: &str = "size=32m";
const SIZE: u64 = 64 << 20;
/// Who is still in it when it is to be unmounted leaves soon.
const LIMIT: Duration = Duration::from_secs(30);

/// A file system in a file on a tmpfs, which may have no room for what is written to the disk: then syncing it fails, and when
/// it is tried again the kernel says that all is well. It keeps no journal of its own, because one with a journal is
/// read-only after its first error.
#[derive(Debug)]
pub(super) struct BadDisk {
    below: PathBuf,
    place: PathBuf,
}

impl BadDisk {
    /// One in this directory; none where there are no means for that, which are root and loop devices.
    pub(super) fn thin(scratch: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            return None;
        }
        let disk = Self { below: scratch.join("below"), place: scratch.join("disk") };
        fs::create_dir(&disk.below).expect("a directory");
        fs::create_dir(&disk.place).expect("a directory");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", BELOW, "tmpfs"]).arg(&disk.below), None).expect("a tmpfs");
        File::create(disk.image()).and_then(|image| image.set_len(SIZE)).expect("an image");
        let mut mkfs = Command::new("mkfs.ext4");
        run(mkfs.args(["-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal"]).arg(disk.image()), None)
            .expect("a file system");
        disk.mount();
        Some(disk)
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.place
    }

    /// What is written from now on does not get to where it should be.
    pub(super) fn starve(&self) {
        self.sync();
        // What was removed has left blocks that are there.
        run(Command::new("fstrim").arg(&self.place), None).expect("trimmed");
        let mut filler = File::create(self.filler()).expect("a file");
        for chunk in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![1; chunk]).is_ok() {}
        }
    }

    /// It does again.
    pub(super) fn feed(&self) {
        fs::remove_file(self.filler()).expect("removed");
    }

    /// It is read-only from now on, as the kernel makes one that has failed.
    pub(super) fn fail(&self) {
        self.sync();
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.place), None).expect("it has failed");
    }

    /// What is only in memory is forgotten, and it can be written again.
    pub(super) fn mount_again(&self) {
        let begin = Instant::now();
        while let Err(error) = run(Command::new("umount").arg("--recursive").arg(&self.place), None) {
            assert!(begin.elapsed() < LIMIT, "{error}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.mount();
    }

    /// What was written before is where it should be.
    fn sync(&self) {
        rustix::fs::syncfs(File::open(&self.place).expect("the disk")).expect("synced");
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.place), None)
            .expect("it is mounted");
    }

    fn image(&self) -> PathBuf {
        self.below.join("image")
    }

    fn filler(&self) -> PathBuf {
        self.below.join("filler")
    }
}

impl Drop for BadDisk {
    fn drop(&mut self) {
        for place in [&self.place, &self.below] {
            // What was not mounted need not be unmounted.
            let _ = run(Command::new("umount").args(["--recursive", "--lazy"]).arg(place), None);
        }
    }
}
