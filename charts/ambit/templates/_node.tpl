{{/* What a container needs that does the mesh's work on a node: the rights. */}}
{{- define "ambit.node.security" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
# The runtime's profile forbids mounts, and with them the file system that programs are pinned in.
appArmorProfile:
  type: Unconfined
{{- end }}
privileged: false
# It has to be where SYS_ADMIN is added.
allowPrivilegeEscalation: true
readOnlyRootFilesystem: true
runAsUser: 0
runAsGroup: 0
runAsNonRoot: false
capabilities:
  drop: [ALL]
  add:
    # Programs and maps.
    - BPF
    - PERFMON
    # Attaching them, marks, transparent sockets, routes.
    - NET_ADMIN
    # Network namespaces of pods.
    - SYS_ADMIN
    # Finding them by processes that are others'.
    - SYS_PTRACE
{{- end -}}

{{/* And what it has of the node. */}}
{{- define "ambit.node.mounts" -}}
{{- $values := include "ambit.values" . | fromJson -}}
{{- $own := $values.ztunnel -}}
# What the plugin is told of is where the node has it: the paths are the same here.
- name: netns
  mountPath: {{ $values.cni.netnsDir }}
  mountPropagation: HostToContainer
- name: cgroup
  mountPath: /sys/fs/cgroup
- name: bpf
  mountPath: /sys/fs/bpf
- name: run
  mountPath: /var/run/ambit
- name: state
  mountPath: {{ $own.stateDir }}
- name: cni-conf
  mountPath: {{ $values.cni.confDir }}
- name: cni-bin
  mountPath: {{ $values.cni.binDir }}
# The node's processes, and sysctls that can be written.
- name: proc
  mountPath: /host/proc
{{- end -}}

{{/* Where that is on the node. */}}
{{- define "ambit.node.volumes" -}}
{{- $values := include "ambit.values" . | fromJson -}}
{{- $own := $values.ztunnel -}}
- name: netns
  hostPath:
    path: {{ $values.cni.netnsDir }}
    type: DirectoryOrCreate
- name: cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
- name: bpf
  hostPath:
    path: /sys/fs/bpf
    type: Directory
- name: run
  hostPath:
    path: /var/run/ambit
    type: DirectoryOrCreate
- name: state
  hostPath:
    path: {{ $own.stateDir }}
    type: DirectoryOrCreate
- name: proc
  hostPath:
    path: /proc
    type: Directory
- name: cni-conf
  hostPath:
    path: {{ $values.cni.confDir }}
    type: DirectoryOrCreate
- name: cni-bin
  hostPath:
    path: {{ $values.cni.binDir }}
    type: DirectoryOrCreate
{{- end -}}

{{/* The arguments that say where it is. */}}
{{- define "ambit.node.args" -}}
{{- $values := include "ambit.values" . | fromJson -}}
{{- with $values.cgroup }}
- --cgroup={{ . }}
{{- end }}
- --kube-cache={{ $values.ztunnel.stateDir }}/mesh
- --proc=/host/proc
- --pins={{ $values.ztunnel.pinsDir }}
- --cni-conf-dir={{ $values.cni.confDir }}
{{- with $values.cni.ownConf }}
- --cni-own-conf={{ . }}
{{- end }}
- --cni-bin-dir={{ $values.cni.binDir }}
- --cni-socket=/var/run/ambit/cni.sock
- --cni-state-dir={{ $values.ztunnel.stateDir }}/cni
- --handover-socket=/var/run/ambit/agent.sock
{{- end -}}

{{/* A resource that is there while the release is uninstalled; the argument is its place in the order. */}}
{{- define "ambit.uninstall.hook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* The DaemonSet that takes the mesh out of the nodes: a pod has done so when its first container has ended well. */}}
{{- define "ambit.uninstall.daemonset" -}}
{{- $values := include "ambit.values" . | fromJson -}}
{{- $own := $values.ztunnel -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: ambit-uninstall
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "ambit.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      app: ambit-uninstall
  template:
    metadata:
      labels:
        app: ambit-uninstall
        istio.io/dataplane-mode: none
        sidecar.istio.io/inject: "false"
        {{- include "ambit.labels" . | nindent 8 }}
      {{- if semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version }}
      annotations:
        container.apparmor.security.beta.kubernetes.io/uninstall: unconfined
      {{- end }}
    spec:
      serviceAccountName: ambit-uninstall
      automountServiceAccountToken: false
      priorityClassName: {{ $own.priorityClassName }}
      terminationGracePeriodSeconds: 1
      hostNetwork: true
      nodeSelector:
        {{- toYaml $own.nodeSelector | nindent 8 }}
      {{- with $own.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        seccompProfile:
          type: RuntimeDefault
        {{- with $values.seLinuxOptions }}
        seLinuxOptions:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      initContainers:
        - name: uninstall
          image: {{ include "ambit.image" . | quote }}
          imagePullPolicy: {{ $values.imagePullPolicy }}
          command: [/usr/local/bin/ztunnel]
          args:
            - --uninstall
            {{- include "ambit.node.args" . | trim | nindent 12 }}
          env:
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
          securityContext:
            {{- include "ambit.node.security" . | nindent 12 }}
          volumeMounts:
            {{- include "ambit.node.mounts" . | nindent 12 }}
      containers:
        # There has to be one.
        - name: done
          image: {{ include "ambit.image" . | quote }}
          imagePullPolicy: {{ $values.imagePullPolicy }}
          command: [/usr/local/bin/ztunnel, --version]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            runAsUser: 1337
            capabilities:
              drop: [ALL]
      volumes:
        {{- include "ambit.node.volumes" . | nindent 8 }}
{{- end -}}
