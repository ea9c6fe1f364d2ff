{{/*
The values of an ingress, with those of `global` over them, and those of files/ingress.yaml below them. As JSON, since a
template gives text.
*/}}
{{- define "gateway.values" -}}
{{- $values := omit .Values "global" | deepCopy -}}
{{- $global := .Values.global | default dict -}}
{{- range $name := list "hub" "tag" "variant" "image" "imagePullPolicy" "imagePullSecrets" "platform" "logLevel" "logAsJson" "caAddress" "istioNamespace" -}}
{{- if hasKey $global $name }}{{ $_ := set $values $name (index $global $name) }}{{ end -}}
{{- end -}}
{{- with $global.multiCluster }}{{ with .clusterName }}{{ $_ := set $values "clusterName" . }}{{ end }}{{ end -}}
{{- range $part, $usual := .Files.Get "files/ingress.yaml" | fromYaml -}}
{{- $own := index $values $part -}}
{{- range $name, $value := $usual -}}
{{- if not (hasKey $own $name) }}{{ $_ := set $own $name $value }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $port := $values.service.ports }}{{ $_ := set $port "targetPort" ($port.targetPort | default $port.port) }}{{ end -}}
{{- $_ := set $values "name" ($values.name | default .Release.Name) -}}
{{- $_ := set $values.serviceAccount "name" ($values.serviceAccount.name | default $values.name) -}}
{{- $_ := set $values "rootNamespace" ($values.meshConfig.rootNamespace | default $values.istioNamespace) -}}
{{- $values | toJson -}}
{{- end -}}

{{- define "gateway.image" -}}
{{- $values := include "gateway.values" . | fromJson -}}
{{- if contains "/" $values.image -}}
{{ $values.image }}
{{- else -}}
{{ $values.hub }}/{{ $values.image }}:{{ $values.tag | default .Chart.AppVersion }}{{ with $values.variant }}-{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{/* By what an ingress's pods are selected: by its Deployment, its Service and Gateways. */}}
{{- define "gateway.selector" -}}
{{- $values := include "gateway.values" . | fromJson -}}
app: {{ $values.labels.app | default $values.name | quote }}
istio: {{ $values.labels.istio | default (trimPrefix "istio-" $values.name) | quote }}
{{- end -}}

{{/* The labels of all that an ingress consists of. Of two that say one label the first counts. */}}
{{- define "gateway.labels" -}}
{{- $values := include "gateway.values" . | fromJson -}}
{{- $usual := dict "app.kubernetes.io/name" $values.name "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service "app.kubernetes.io/part-of" "ambit" "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) -}}
{{- merge (include "gateway.selector" . | fromYaml) $values.labels $usual | toYaml -}}
{{- end -}}

{{/* The labels of its pods: what carries HBONE by itself is captured by nobody. */}}
{{- define "gateway.podLabels" -}}
{{- $values := include "gateway.values" . | fromJson -}}
{{- $fixed := dict "istio.io/dataplane-mode" "none" "sidecar.istio.io/inject" "false" -}}
{{- $usual := dict "service.istio.io/canonical-name" $values.name "service.istio.io/canonical-revision" "latest" -}}
{{- merge $fixed (include "gateway.labels" . | fromYaml) $usual | toYaml -}}
{{- end -}}

{{/* The annotations of its pods. */}}
{{- define "gateway.podAnnotations" -}}
{{- $usual := dict "prometheus.io/scrape" "true" "prometheus.io/port" "15020" "prometheus.io/path" "/stats/prometheus" -}}
{{- merge (deepCopy .Values.podAnnotations) $usual | toYaml -}}
{{- end -}}

{{/* The metadata of a part of it: `root`, and what is its own, a `name` and `annotations`. */}}
{{- define "gateway.metadata" -}}
{{- $values := include "gateway.values" .root | fromJson -}}
name: {{ .name | default $values.name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "gateway.labels" .root | nindent 2 }}
{{- with merge (.annotations | default dict | deepCopy) $values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The arguments of an ingress. What is given here cannot be given again in `args`. */}}
{{- define "gateway.args" -}}
{{- $values := include "gateway.values" . | fromJson -}}
- --kube
- --mode=gateway
- --namespace=$(POD_NAMESPACE)
- --name={{ $values.name }}
- --pod=$(POD_NAME)
- --service-account={{ $values.serviceAccount.name }}
- --ca-address=https://{{ $values.caAddress | default (printf "ambit-controller.%s.svc:15012" $values.istioNamespace) }}
- --ca-token=/var/run/secrets/tokens/istio-token
- --roots=/var/run/secrets/istio/root-cert.pem
- --keep-certificates=/var/run/certificates/kept
- --trust-domain={{ $values.meshConfig.trustDomain }}
{{- with $values.meshConfig.trustDomainAliases }}
- --trust-domain-aliases={{ join "," . }}
{{- end }}
- --cluster={{ $values.clusterName }}
- --domain={{ $values.clusterDomain }}
- --root-namespace={{ $values.rootNamespace }}
- --drain-deadline={{ sub ($values.terminationGracePeriodSeconds | int) 10 }}
{{- if not $values.ipv6 }}
- --metrics-address=0.0.0.0:15020
- --readiness-address=0.0.0.0:15021
{{- end }}
- --log-level={{ $values.logLevel }}
- --log-format={{ ternary "json" "plain" $values.logAsJson }}
{{- range $values.args }}
- {{ . | quote }}
{{- end }}
{{- end -}}
