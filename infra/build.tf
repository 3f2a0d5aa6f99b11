# What Cloud Build may do, in three builds with an account each:
#   test    infra/builds/test.yaml     write logs
#   build   cloudbuild.yaml            and push images
#   deploy  infra/builds/deploy.yaml   and scan an image, tag it, and deploy this one service
# The third runs no file of the repository: its steps are Google's image, and its input is the digest of an image.

locals {
  builders = {
    test   = google_service_account.test.member
    build  = google_service_account.build.member
    deploy = google_service_account.deploy.member
  }
}

resource "google_project_iam_member" "build_logs" {
  for_each = local.builders

  project = var.project
  role    = "roles/logging.logWriter"
  member  = each.value
}

resource "google_project_iam_member" "build_reads_source" {
  for_each = { for name, member in local.builders : name => member if name != "deploy" }

  project = var.project
  role    = "roles/storage.objectViewer"
  member  = each.value

  condition {
    title      = "Cloud Build's own buckets"
    expression = "resource.name.startsWith('projects/_/buckets/${var.project}_')"
  }
}

resource "google_artifact_registry_repository_iam_member" "pushes" {
  for_each = { for name, member in local.builders : name => member if name != "test" } # deploy moves the tag latest

  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = each.value
}

# https://cloud.google.com/artifact-analysis/docs/ods-cloudbuild
resource "google_project_iam_member" "deploy_scans" {
  project = var.project
  role    = "roles/ondemandscanning.admin"
  member  = google_service_account.deploy.member
}

resource "google_cloud_run_v2_service_iam_member" "deploy_deploys" {
  name     = google_cloud_run_v2_service.service.name
  location = google_cloud_run_v2_service.service.location
  role     = "roles/run.developer"
  member   = google_service_account.deploy.member
}

# A revision runs as the run account, so the account that deploys it must be allowed to act as the run account.
resource "google_service_account_iam_member" "deploy_acts_as_run" {
  service_account_id = google_service_account.run.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deploy.member
}
