# The registry of the images.
resource "google_artifact_registry_repository" "images" {
  repository_id = "commercetools-segment"
  description   = "Images of commercetools-segment, built by cloudbuild.yaml"
  location      = var.registry_region == "" ? var.region : var.registry_region
  format        = "DOCKER"
  depends_on    = [google_project_service.api]

  # Enough for a roll-back; more images would only cost storage.
  cleanup_policies {
    id     = "keep-the-last-20"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }
  cleanup_policies {
    id     = "delete-older-than-30-days"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }
}

locals {
  images = join("/", [
    "${google_artifact_registry_repository.images.location}-docker.pkg.dev",
    var.project, google_artifact_registry_repository.images.repository_id,
  ])

  # The image a new service starts with: cloudbuild.yaml's, or that of infra/mapping/cloudbuild.yaml, which holds the
  # mapping file. infra/builds/deploy.yaml gives this tag to an image that has passed the scan, and deploys by digest.
  first_image = "${local.images}/${var.mapping_file == "" ? "service" : "shop"}:latest"
}
