{{/* The arguments of the agent. What is given here cannot be given again in `args`. */}}
{{- define "ambit.args.ztunnel" -}}
{{- $values := include "ambit.values" . | fromJson -}}
- --kube
- --node=$(NODE_NAME)
{{- include "ambit.node.args" . | trim | nindent 0 }}
- --cni-when-away={{ $values.cni.whenAway }}
- --ca-address={{ include "ambit.caAddress" . }}
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
- --excluded-namespaces={{ join "," $values.excludeNamespaces }}
- --readiness-socket=/tmp/ready.sock
- --drain-deadline={{ max 1 (sub ($values.ztunnel.terminationGracePeriodSeconds | int) 5) }}
{{- if not $values.ipv6 }}
- --metrics-address=0.0.0.0:15020
- --readiness-address=0.0.0.0:15021
{{- end }}
- --log-level={{ $values.logLevel }}
- --log-format={{ ternary "json" "plain" $values.logAsJson }}
{{- range $values.ztunnel.args }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The arguments of the controller. What is given here cannot be given again in `args`. */}}
{{- define "ambit.args.controller" -}}
{{- $values := include "ambit.values" . | fromJson -}}
- --kube
- --server-names=ambit-controller.{{ .Release.Namespace }}.svc,istiod.{{ .Release.Namespace }}.svc{{ range $values.controller.serverNames }},{{ . }}{{ end }}
- --waypoint-image={{ include "ambit.image" . }}
- --waypoint-ca-address={{ include "ambit.caAddress" . }}
- --trust-domain={{ $values.meshConfig.trustDomain }}
- --cluster={{ $values.clusterName }}
- --domain={{ $values.clusterDomain }}
- --root-namespace={{ $values.rootNamespace }}
{{- if and $values.configValidation (not $values.base.validationCABundle) }}
- --validation-webhook=ambit-validator
{{- with $values.base.validationFailurePolicy }}
- --validation-failure-policy={{ . }}
{{- end }}
{{- end }}
- --drain-deadline={{ max 1 (sub ($values.controller.terminationGracePeriodSeconds | int) 5) }}
{{- if not $values.ipv6 }}
- --address=0.0.0.0:15012
- --webhook-address=0.0.0.0:15017
- --metrics-address=0.0.0.0:15014
- --readiness-address=0.0.0.0:8080
{{- end }}
- --log-level={{ $values.logLevel }}
- --log-format={{ ternary "json" "plain" $values.logAsJson }}
{{- range $values.controller.args }}
- {{ . | quote }}
{{- end }}
{{- end -}}
