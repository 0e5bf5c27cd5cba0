//! Whether rare situations were reached: a simulator that never reaches one proves nothing about it.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! probes {
    ($($probe:ident,)*) => {
        /// A situation that a good set of seeds reaches.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is named after what happens")]
        pub enum Probe { $($probe,)* }

        impl Probe {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$probe,)*];
        }
    };
}

probes! {
    MasterCrash,
    MasterCrashBeforeCommit,
    MasterCrashAfterCommit,
    MasterCrashAmidEffects,
    MasterCrashAtStart,
    MasterStall,
    BatchOfMany,
    WorkerCrash,
    WorkerCrashBetweenEffects,
    WorkerCrashAtStart,
    DeedAfterCrash,
    JournalLoss,
    ContainerAdopted,
    Reboot,
    ContainerLostInReboot,
    ContainerVanished,
    Pause,
    PauseLongerThanReassign,
    Leave,
    CutBothWays,
    CutToMaster,
    CutToWorker,
    HalfOpen,
    StaleHello,
    DialTimeout,
    SessionReplaced,
    LeaseExpired,
    LeaseOverAtStart,
    MessageDuplicated,
    ReportsOutOfOrder,
    LateMessageOfOldSession,
    EngineFailedBeforeDeed,
    EngineFailedAfterDeed,
    ImageMissing,
    SetupFailed,
    OutOfMemory,
    KilledAfterGrace,
    UploadAnswerLost,
    UploadRefused,
    WorkerSuspected,
    WorkerRecovered,
    WorkerLost,
    RunKept,
    Compared,
    NotCompared,
    OrphanFound,
    LossFound,
    RunStopped,
    AttemptAgain,
    BudgetUsedUp,
    ReportRepeated,
    ReportSuperseded,
    SubmitUnanswered,
    SubmitReplayed,
    KeyReused,
    EndlessCancelled,
    CancelWaiting,
    CancelLive,
    CancelledAfterAll,
    EndedDespiteCancel,
    SuccessRecorded,
    ExitCodeRecorded,
    SignalRecorded,
    TimeoutRecorded,
    QueueTimeoutRecorded,
    OnceLost,
    Retried,
    ForcedToEnd,
}

/// How often each was reached.
#[derive(Debug, Clone, Default)]
pub struct Reach(BTreeMap<Probe, u64>);

impl Reach {
    pub(crate) fn hit(&mut self, probe: Probe) {
        *self.0.entry(probe).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (probe, count) in &other.0 {
            *self.0.entry(*probe).or_default() += count;
        }
    }

    /// Those that were never reached.
    #[must_use]
    pub fn missing(&self) -> Vec<Probe> {
        Probe::ALL.iter().copied().filter(|probe| !self.0.contains_key(probe)).collect()
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for probe in Probe::ALL {
            writeln!(f, "{:>9} {probe:?}", self.0.get(probe).copied().unwrap_or_default())?;
        }
        Ok(())
    }
}
