terraform {
  required_version = ">= 1.7" # the first with mock_provider, which infra/tests use

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50" # one major version for all who apply; the schema that infra/tests are checked against
    }
  }

  # The state is kept in a bucket of yours: scripts/deploy names it, after the project.
  backend "gcs" {
    prefix = "commercetools-segment"
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

data "google_project" "this" {
  project_id = var.project
}
