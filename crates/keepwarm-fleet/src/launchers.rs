//! Text that starts workers elsewhere. Owns the text; starts nothing.
//!
//! Words in capitals are for the reader to fill in.

use crate::args::Launcher;

/// Returns the text of a launcher.
pub(crate) fn text(launcher: Launcher) -> &'static str {
    match launcher {
        Launcher::K8sJob => K8S_JOB,
        Launcher::Slurm => SLURM,
        Launcher::Systemd => SYSTEMD,
        Launcher::Compose => COMPOSE,
        Launcher::NatsServer => NATS_SERVER,
    }
}

/// Configuration of a server that lets in one coordinator and workers, each on their own subjects.
pub(crate) fn nats_server(
    listen: &str,
    directory: &str,
    coordinator: &str,
    worker: &str,
) -> String {
    NATS_SERVER
        .replace("0.0.0.0:4222", listen)
        .replace("/var/lib/nats", directory)
        .replace("COORDINATOR_KEY", coordinator)
        .replace("WORKER_KEY", worker)
}

const K8S_JOB: &str = r#"# kubectl create secret generic keepwarm-worker --from-file=worker.nk
# kubectl apply -f this-file; then: keepwarm fleet run --nats URL --workers 4 -- ...
apiVersion: batch/v1
kind: Job
metadata:
  name: keepwarm-worker
spec:
  completionMode: Indexed
  completions: 4
  parallelism: 4
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: worker
          image: IMAGE_WITH_KEEPWARM
          command: ["keepwarm-fleet", "worker", "--once"]
          args:
            - --nats=tls://NATS_HOST:4222
            - --nkey=/keys/worker.nk
            - --name=worker-$(JOB_COMPLETION_INDEX)
            - --allow-target=10.0.0.0/8:80
            - --coordinator=COORDINATOR_KEY
          env:
            - name: JOB_COMPLETION_INDEX
              valueFrom:
                fieldRef:
                  fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
          resources:
            requests:
              cpu: "2"
              memory: 256Mi
            limits:
              memory: 1Gi
          volumeMounts:
            - name: keys
              mountPath: /keys
              readOnly: true
      volumes:
        - name: keys
          secret:
            secretName: keepwarm-worker
"#;

const SLURM: &str = r#"#!/bin/bash
# sbatch this-file; then: keepwarm fleet run --nats URL --workers 4 -- ...
#SBATCH --job-name=keepwarm-worker
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=2
#SBATCH --time=00:30:00
srun bash -c 'exec keepwarm-fleet worker --once \
    --nats tls://NATS_HOST:4222 \
    --nkey "$HOME/worker.nk" \
    --name "worker-$SLURM_JOB_ID-$SLURM_PROCID" \
    --allow-target 10.0.0.0/8:80 \
    --coordinator COORDINATOR_KEY'
"#;

const SYSTEMD: &str = r#"# /etc/systemd/system/keepwarm-worker.service
[Unit]
Description=Worker of keepwarm's fleet
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/keepwarm-fleet worker --nats tls://NATS_HOST:4222 --nkey /etc/keepwarm/worker.nk --allow-target 10.0.0.0/8:80 --coordinator COORDINATOR_KEY --directory /var/lib/keepwarm-worker
Restart=on-failure
RestartSec=5
DynamicUser=yes
StateDirectory=keepwarm-worker
LimitNOFILE=65536
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes

[Install]
WantedBy=multi-user.target
"#;

const COMPOSE: &str = r#"# docker compose up --scale worker=4
# then: keepwarm fleet run --nats nats://127.0.0.1:4222 --nkey coordinator.nk --workers 4 -- ...
services:
  nats:
    image: nats:2
    command: ["--config", "/etc/nats/nats-server.conf"]
    ports:
      - "127.0.0.1:4222:4222"
    volumes:
      - ./nats-server.conf:/etc/nats/nats-server.conf:ro
  worker:
    image: IMAGE_WITH_KEEPWARM
    depends_on:
      - nats
    command:
      - keepwarm-fleet
      - worker
      - --nats=nats://nats:4222
      - --nkey=/keys/worker.nk
      - --allow-target=10.0.0.0/8:80
      - --coordinator=COORDINATOR_KEY
    volumes:
      - ./worker.nk:/keys/worker.nk:ro
"#;

const NATS_SERVER: &str = r#"# Keys: keepwarm fleet key coordinator.nk; keepwarm fleet key worker.nk
listen: "0.0.0.0:4222"
jetstream {
  store_dir: "/var/lib/nats"
}
authorization {
  users: [
    {
      nkey: "COORDINATOR_KEY"
      permissions: {
        publish: ["keepwarm.>", "$JS.API.>", "$JS.ACK.>", "$KV.>", "$O.>", "_INBOX.>"]
        subscribe: ["keepwarm.>", "_INBOX.>"]
      }
    }
    {
      nkey: "WORKER_KEY"
      permissions: {
        # A worker reads plans, and writes its own state and result: it calls no other worker, and
        # changes no plan, start or stop.
        publish: [
          "keepwarm.*.clock", "keepwarm.*.live.*", "keepwarm.*.results.*", "$KV.*.worker.*",
          "$O.>", "_INBOX.>", "$JS.API.INFO", "$JS.API.STREAM.INFO.*",
          "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.>", "$JS.API.CONSUMER.CREATE.>",
          "$JS.API.CONSUMER.DELETE.>", "$JS.API.STREAM.PURGE.*", "$JS.ACK.>", "$JS.FC.>"
        ]
        subscribe: ["keepwarm.look", "keepwarm.call.*", "_INBOX.>"]
      }
    }
  ]
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_config_takes_both_keys() {
        let text = nats_server("127.0.0.1:-1", "/tmp/js", "UCOORD", "UWORK");
        for part in ["\"127.0.0.1:-1\"", "\"/tmp/js\"", "\"UCOORD\"", "\"UWORK\""] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("_KEY\""), "{text}");
    }
}
