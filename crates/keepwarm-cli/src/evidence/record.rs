//! Translates a judgement into the types of records, alike for a watch and for a load's hop.

use keepwarm_diagnose::Finding;
use keepwarm_record::watch::{FindingRecord, OwnerRecord, Side};

use super::Judged;

/// Returns the side as records name it.
pub(crate) const fn side(side: keepwarm_sockets::Side) -> Side {
    match side {
        keepwarm_sockets::Side::Client => Side::Client,
        keepwarm_sockets::Side::Server => Side::Server,
    }
}

/// Returns the owners of a destination, the main one first.
pub(crate) fn owners(judged: &Judged) -> Vec<OwnerRecord> {
    let owners = judged.destination.owners.iter().enumerate();
    owners
        .map(|(place, owner)| OwnerRecord {
            pid: owner.pid,
            process: owner.process.clone(),
            // The runtime is looked up for the main owner only.
            runtime: judged.runtime.filter(|_| place == 0).map(|runtime| runtime.to_string()),
            cgroup: judged.cgroups.get(place).cloned().flatten(),
            namespace: judged.names.get(place).and_then(|names| names.namespace.clone()),
            pod: judged.names.get(place).and_then(|names| names.pod.clone()),
            container: judged.names.get(place).and_then(|names| names.container.clone()),
            unit: judged.names.get(place).and_then(|names| names.unit.clone()),
            share: owner.share,
            how: owner.how.as_str().to_owned(),
        })
        .collect()
}

/// Returns the record of a finding.
pub(crate) fn finding(finding: &Finding) -> FindingRecord {
    FindingRecord {
        code: finding.code.to_owned(),
        confidence: finding.confidence,
        summary: finding.summary.clone(),
        advice: finding.advice.clone(),
    }
}
