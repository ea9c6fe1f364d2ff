{{/*
The values, with those of `global` over them, and those of the platform below them where they are empty. As JSON, since a
template gives text.
*/}}
{{- define "ambit.values" -}}
{{- $values := omit .Values "global" | deepCopy -}}
{{- $global := .Values.global | default dict -}}
{{- range $name := list "hub" "tag" "variant" "image" "imagePullPolicy" "imagePullSecrets" "platform" "logLevel" "logAsJson" "caAddress" "configValidation" -}}
{{- if hasKey $global $name }}{{ $_ := set $values $name (index $global $name) }}{{ end -}}
{{- end -}}
{{- if $global.networkPolicy }}{{ $_ := set $values "networkPolicy" $global.networkPolicy }}{{ end -}}
{{- with $global.multiCluster }}{{ with .clusterName }}{{ $_ := set $values "clusterName" . }}{{ end }}{{ end -}}
{{- $platform := dict -}}
{{- with $values.platform -}}
{{- $platform = $.Files.Get (printf "files/platforms/%s.yaml" .) | fromYaml -}}
{{- end -}}
{{- $most := dict "confDir" "/etc/cni/net.d" "binDir" "/opt/cni/bin" "netnsDir" "/var/run/netns" -}}
{{- $cni := dict -}}
{{- range $name, $usual := $most -}}
{{- $_ := set $cni $name (index $values.cni $name | default (index ($platform.cni | default dict) $name) | default $usual) -}}
{{- end -}}
{{- $_ := set $cni "whenAway" $values.cni.whenAway -}}
{{- $_ := set $cni "ownConf" (ternary $values.cni.istioOwnedCNIConfigFileName "" $values.cni.istioOwnedCNIConfig) -}}
{{- $_ := set $values "cni" $cni -}}
{{- $_ := set $values "cgroup" ($values.cgroup | default $platform.cgroup | default "") -}}
{{- $_ := set $values "seLinuxOptions" ($values.seLinuxOptions | default $platform.seLinuxOptions | default dict) -}}
{{- $_ := set $values "securityContextConstraints" ($platform.securityContextConstraints | default false) -}}
{{- $_ := set $values "rootNamespace" ($values.meshConfig.rootNamespace | default .Release.Namespace) -}}
{{- $values | toJson -}}
{{- end -}}

{{- define "ambit.image" -}}
{{- $values := include "ambit.values" . | fromJson -}}
{{- if contains "/" $values.image -}}
{{ $values.image }}
{{- else -}}
{{ $values.hub }}/{{ $values.image }}:{{ $values.tag | default .Chart.AppVersion }}{{ with $values.variant }}-{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "ambit.labels" -}}
app.kubernetes.io/part-of: ambit
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Where certificates are asked for. */}}
{{- define "ambit.caAddress" -}}
{{- $values := include "ambit.values" . | fromJson -}}
https://{{ $values.caAddress | default (printf "ambit-controller.%s.svc:15012" .Release.Namespace) }}
{{- end -}}

{{/* Reading the mesh's configuration: what agents, waypoints and the controller may do alike. */}}
{{- define "ambit.rules.read" -}}
- apiGroups: [""]
  resources: [namespaces, nodes, services, pods]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [networking.istio.io]
  resources: [serviceentries, workloadentries, virtualservices, destinationrules, gateways]
  verbs: [get, list, watch]
- apiGroups: [security.istio.io]
  resources: [peerauthentications, authorizationpolicies, requestauthentications]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, gatewayclasses, httproutes, grpcroutes, referencegrants]
  verbs: [get, list, watch]
{{- end -}}

{{/* The token for the CA, and the roots that it is known by, as volumes. */}}
{{- define "ambit.volumes.identity" -}}
- name: istio-token
  projected:
    sources:
      - serviceAccountToken:
          path: istio-token
          audience: istio-ca
          expirationSeconds: 43200
- name: istio-ca-root-cert
  configMap:
    name: istio-ca-root-cert
{{- end -}}

{{/* Takes the rules in CEL out of a schema, in place, wherever they are. */}}
{{- define "ambit.withoutRules" -}}
{{- if kindIs "map" . -}}
{{- $_ := unset . "x-kubernetes-validations" -}}
{{- range $value := . }}{{ include "ambit.withoutRules" $value }}{{ end -}}
{{- else if kindIs "slice" . -}}
{{- range $value := . }}{{ include "ambit.withoutRules" $value }}{{ end -}}
{{- end -}}
{{- end -}}
