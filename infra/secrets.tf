# The secrets without their values. Values are typed into scripts/put-secret, so that no plan, state or
# file contains them.
locals {
  # Setting of the service → its secret.
  secrets = merge(
    { SEGMENT_WRITE_KEY = "segment-write-key" },
    var.commercetools == null ? {} : { CTP_CLIENT_SECRET = "commercetools-client-secret" },
    var.erasure == "off" && !var.suppresses_withdrawn ? {} : { SEGMENT_PUBLIC_API_TOKEN = "segment-public-api-token" },
  )
}

resource "google_secret_manager_secret" "secret" {
  for_each = local.secrets

  secret_id = each.value
  replication {
    auto {}
  }
  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_iam_member" "run_reads" {
  for_each = google_secret_manager_secret.secret

  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}

locals {
  # What the service and the jobs read, by the name of the setting.
  pinned = {
    for name, secret in google_secret_manager_secret.secret : name => {
      secret  = secret.secret_id
      version = tostring(lookup(var.secret_versions, name, 1))
    }
  }
}
