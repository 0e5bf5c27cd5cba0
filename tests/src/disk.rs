//! A disk for the data of a worker, which fails when it is told to.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of what is below the disk, in bytes.
const BELOW: &str = "size=64m";
/// What the disk says that it has, in bytes: more than a worker calls full.
const SIZE: u64 = 1 << 30;

/// A file system in a file on a tmpfs, which may have no room for what is written to the disk: then syncing it fails, and when
/// it is tried again the kernel says that all is well. It keeps no journal of its own, because one with a journal is
/// read-only after its first error. Dropped, it is unmounted.
#[derive(Debug)]
pub struct Disk {
    /// The directory of the worker.
    dir: PathBuf,
    below: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// One for the data of the worker that will have this directory, which is not there yet. An engine of its own sees it, if
    /// it is started later. None where there are no means for that, which are root and loop devices.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn for_worker(dir: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            eprintln!("no disk can be made to fail here: that takes root and loop devices");
            return None;
        }
        let disk = Self { dir: dir.to_owned(), below: dir.with_extension("below"), place: dir.join("data") };
        fs::create_dir_all(&disk.below).expect("a directory");
        fs::create_dir_all(&disk.place).expect("a directory");
        // What is mounted and unmounted below it, the engine sees too.
        run(Command::new("mount").arg("--bind").args([dir, dir]));
        run(Command::new("mount").arg("--make-shared").arg(dir));
        run(Command::new("mount").args(["-t", "tmpfs", "-o", BELOW, "tmpfs"]).arg(&disk.below));
        let image = disk.below.join("image");
        File::create(&image).and_then(|image| image.set_len(SIZE)).expect("an image");
        let kind = ["-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal"];
        run(Command::new("mkfs.ext4").args(kind).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &disk.place]));
        Some(disk)
    }

    /// What is written from now on does not get to where it should be.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn starve(&self) {
        self.sync();
        // What was removed has left blocks that are there.
        run(Command::new("fstrim").arg(&self.place));
        let mut filler = File::create(self.filler()).expect("a file");
        for chunk in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![1; chunk]).is_ok() {}
        }
    }

    /// It does again.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn feed(&self) {
        fs::remove_file(self.filler()).expect("removed");
    }

    /// It is read-only from now on, as the kernel makes one that has failed.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn fail(&self) {
        self.sync();
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.place));
    }

    /// Puts what is on it on a good one, in the same place. Nobody but containers may be in it.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn replace(&self) {
        let good = self.dir.join("good");
        run(Command::new("cp").args(["--archive", "--sparse=always"]).args([&self.place, &good]));
        run(Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.place));
        fs::remove_dir(&self.place).expect("nothing is mounted there");
        fs::rename(&good, &self.place).expect("moved");
    }

    /// What was written before is where it should be.
    fn sync(&self) {
        rustix::fs::syncfs(File::open(&self.place).expect("the disk")).expect("synced");
    }

    fn filler(&self) -> PathBuf {
        self.below.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for place in [&self.dir, &self.below] {
            // What was not mounted need not be unmounted.
            let _ = quiet(Command::new("umount").args(["--recursive", "--lazy"]).arg(place)).status();
        }
    }
}

fn run(command: &mut Command) {
    let status = quiet(command).status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// With the programs that plain users do not look for.
fn quiet(command: &mut Command) -> &mut Command {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).stdin(Stdio::null())
}
