//! A disk that fails when it is told to, for tests.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::program::run;

/// Who is still in it when it is to be unmounted leaves soon.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two tries to unmount it.
const PAUSE: Duration = Duration::from_millis(20);

/// A file system in a file on a tmpfs, which may have no room for what is written to the disk: then syncing it fails, and when
/// it is tried again the kernel says that all is well. It keeps no journal of its own, because one with a journal is
/// read-only after its first error. Dropped, it is unmounted.
#[derive(Debug)]
pub struct BadDisk {
    below: PathBuf,
    place: PathBuf,
    /// Where it is mounted, or above that: with this it is unmounted.
    top: PathBuf,
}

/// How large one is, in bytes.
struct Size {
    /// Of what is below the disk, as its mount option.
    below: &'static str,
    /// What the disk says that it has.
    said: u64,
}

impl BadDisk {
    /// A small one in this directory; none where there are no means for that, which are root and loop devices.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn thin(scratch: &Path) -> io::Result<Option<Self>> {
        if !has_means() {
            return Ok(None);
        }
        let place = scratch.join("disk");
        fs::create_dir(&place)?;
        let disk = Self { below: scratch.join("below"), top: place.clone(), place };
        disk.make(&Size { below: "size=32m", said: 64 << 20 })?;
        Ok(Some(disk))
    }

    /// One for the data of the worker that will have this directory, which is not there yet: with more than a worker calls
    /// full. An engine of its own sees it, if it is started later. None where there are no means for that.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn for_worker(dir: &Path) -> io::Result<Option<Self>> {
        if !has_means() {
            return Ok(None);
        }
        let disk = Self { below: dir.with_extension("below"), place: dir.join("data"), top: dir.to_owned() };
        fs::create_dir_all(&disk.place)?;
        // What is mounted and unmounted below it, the engine sees too.
        run(Command::new("mount").arg("--bind").args([dir, dir]), None)?;
        run(Command::new("mount").arg("--make-shared").arg(dir), None)?;
        disk.make(&Size { below: "size=64m", said: 1 << 30 })?;
        Ok(Some(disk))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// What is written from now on does not get to where it should be.
    ///
    /// # Errors
    /// That cannot be done.
    pub fn starve(&self) -> io::Result<()> {
        self.sync()?;
        // What was removed has left blocks that are there.
        run(Command::new("fstrim").arg(&self.place), None)?;
        let mut filler = File::create(self.filler())?;
        for chunk in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![1; chunk]).is_ok() {}
        }
        Ok(())
    }

    /// It does again.
    ///
    /// # Errors
    /// That cannot be done.
    pub fn feed(&self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }

    /// It is read-only from now on, as the kernel makes one that has failed.
    ///
    /// # Errors
    /// That cannot be done.
    pub fn fail(&self) -> io::Result<()> {
        self.sync()?;
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.place), None)
    }

    /// What is only in memory is forgotten, and it can be written again. Blocks until nobody is in it, for 30 s at most.
    ///
    /// # Errors
    /// That cannot be done, or somebody stays in it.
    pub fn mount_again(&self) -> io::Result<()> {
        let begin = Instant::now();
        while let Err(error) = run(Command::new("umount").arg("--recursive").arg(&self.place), None) {
            if begin.elapsed() >= LIMIT {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
        self.mount()
    }

    /// Puts what is on it on a good one, in the same place. Nobody but containers may be in it.
    ///
    /// # Errors
    /// That cannot be done.
    pub fn replace(&self) -> io::Result<()> {
        let good = self.place.with_file_name("good");
        run(Command::new("cp").args(["--archive", "--sparse=always"]).args([&self.place, &good]), None)?;
        run(Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.place), None)?;
        // Nothing is mounted there any more.
        fs::remove_dir(&self.place)?;
        fs::rename(good, &self.place)
    }

    fn make(&self, size: &Size) -> io::Result<()> {
        fs::create_dir(&self.below)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", size.below, "tmpfs"]).arg(&self.below), None)?;
        File::create(self.image())?.set_len(size.said)?;
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal"]);
        run(mkfs.arg(self.image()), None)?;
        self.mount()
    }

    /// What was written before is where it should be.
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.place)?)?)
    }

    fn mount(&self) -> io::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.place), None)
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
        for place in [&self.top, &self.below] {
            // What was not mounted need not be unmounted.
            let _ = run(Command::new("umount").args(["--recursive", "--lazy"]).arg(place), None);
        }
    }
}

fn has_means() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists()
}
