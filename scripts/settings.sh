# shellcheck shell=sh
# What scripts/deploy and scripts/put-secret share: the file of settings, and how a script ends.

TFVARS=${TFVARS:-infra/terraform.tfvars}

fail() { # SENTENCE
  echo "${0##*/}: $1" >&2
  exit "${2:-1}"
}

setting() { # NAME [DEFAULT]
  found=$(sed -n "s/^$1[[:space:]]*=[[:space:]]*\"\([^\"]*\)\".*/\1/p" "$TFVARS")
  [ "$(printf '%s\n' "$found" | wc -l)" -eq 1 ] || fail "$TFVARS sets $1 more than once: keep one line." 2
  [ -n "${found:-${2:-}}" ] || fail "$TFVARS must set $1." 2
  printf '%s\n' "${found:-${2:-}}"
}

[ -f "$TFVARS" ] || fail "there is no $TFVARS: copy infra/example.tfvars and edit it (docs/deploy.md)." 2
project=$(setting project)
export CLOUDSDK_CORE_PROJECT="$project" # so that no command uses another project, whatever gcloud's own setting is
