# The shop's mapping file: in the shop's own image, or a secret that is mounted as a file. docs/mapping.md explains the
# file, docs/deploy.md how a change of it is rolled out.
locals {
  mapping_folder = "/etc/commercetools-segment"
  mapping_file   = var.mapping_secret == null ? var.mapping_file : "${local.mapping_folder}/mapping.toml"
}

resource "google_secret_manager_secret_iam_member" "run_reads_mapping" {
  count = var.mapping_secret == null ? 0 : 1

  project   = var.project
  secret_id = var.mapping_secret.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}
