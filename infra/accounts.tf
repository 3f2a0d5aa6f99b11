# Accounts without keys: one runs the service, one pushes to it; one tests a commit, one builds its image, one deploys it.
# The last three are apart, because tests run what many people have written: none of it can deploy or read a secret.

resource "google_service_account" "run" {
  account_id   = "commercetools-segment-run"
  display_name = "Runs commercetools-segment: reads its secrets, writes dead letters"
  depends_on   = [google_project_service.api]
}

resource "google_service_account" "push" {
  account_id   = "commercetools-segment-push"
  display_name = "Pub/Sub pushes to commercetools-segment as this account"
  depends_on   = [google_project_service.api]
}

resource "google_service_account" "test" {
  account_id   = "commercetools-segment-test"
  display_name = "Cloud Build lints and tests commercetools-segment as this account"
  depends_on   = [google_project_service.api]
}

resource "google_service_account" "build" {
  account_id   = "commercetools-segment-build"
  display_name = "Cloud Build builds the images of commercetools-segment as this account"
  depends_on   = [google_project_service.api]
}

resource "google_service_account" "deploy" {
  account_id   = "commercetools-segment-deploy"
  display_name = "Cloud Build scans and deploys commercetools-segment as this account"
  depends_on   = [google_project_service.api]
}

locals {
  # Pub/Sub's own account in this project. (google_project_service_identity would create it, but it exists only in google-beta.)
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  # commercetools publishes to customers' topics as this account: https://docs.commercetools.com/api/projects/subscriptions
  commercetools_publisher = "serviceAccount:subscriptions@commercetools-platform.iam.gserviceaccount.com"
}
