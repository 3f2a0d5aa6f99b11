# The operator's command as Cloud Run jobs, with the service's image, settings and secrets: a backfill by hand, a check by
# a schedule. docs/operations.md, "Backfill as a job" and "The check failed".

locals {
  job_names = { for job in ["backfill", "check"] : job => "${local.name}-${job}" }

  jobs = merge(
    {
      check = {
        account     = google_service_account.check.email
        args        = ["check"]
        tasks       = 1
        parallelism = 1
        retries     = 1 # a failure that passes is no alert
        timeout     = "600s"
        settings = {
          COLUMNS             = "1000" # each finding is one line of the log
          PUBSUB_TOPIC        = google_pubsub_topic.customers.id
          PUBSUB_SUBSCRIPTION = google_pubsub_subscription.push.id
        }
      }
    },
    # Without an API client there is nothing to read.
    var.commercetools == null ? {} : {
      backfill = {
        account     = google_service_account.run.email
        args        = ["backfill", "customers", "--dry-run"] # an execution without --args sends nothing
        tasks       = var.backfill_tasks
        parallelism = var.backfill_parallelism
        retries     = 3 # each goes on from the checkpoint
        timeout     = "86400s"
        settings    = { BACKFILL_CHECKPOINT = "gs://${google_storage_bucket.checkpoints.name}/backfill" }
      }
    },
  )
}

resource "google_cloud_run_v2_job" "job" {
  for_each = local.jobs

  name                = local.job_names[each.key]
  location            = var.region
  deletion_protection = var.deletion_protection

  template {
    task_count  = each.value.tasks
    parallelism = each.value.parallelism

    template {
      service_account = each.value.account
      timeout         = each.value.timeout
      max_retries     = each.value.retries

      dynamic "volumes" {
        for_each = var.mapping_secret[*]
        content {
          name = "mapping"
          secret {
            secret = volumes.value.secret
            items {
              path    = "mapping.toml"
              version = volumes.value.version
            }
          }
        }
      }

      containers {
        # The image that the service has now. A deployment gives an image to the service and to the jobs.
        image   = google_cloud_run_v2_service.service.template[0].containers[0].image
        command = ["commercetools-segment"]
        args    = each.value.args

        resources {
          limits = local.limits # a backfill of large customers in 8 lanes had 141 MiB
        }

        dynamic "volume_mounts" {
          for_each = var.mapping_secret[*]
          content {
            name       = "mapping"
            mount_path = local.mapping_folder
          }
        }

        dynamic "env" {
          for_each = merge(local.settings, each.value.settings)
          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = local.pinned
          content {
            name = env.key
            value_source {
              secret_key_ref {
                secret  = env.value.secret
                version = env.value.version
              }
            }
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version] # they say which tool deployed last
  }

  depends_on = [
    google_secret_manager_secret_iam_member.run_reads,
    google_secret_manager_secret_iam_member.run_reads_mapping,
    google_secret_manager_secret_iam_member.check_reads,
    google_secret_manager_secret_iam_member.check_reads_mapping,
  ]
}

# A deployment gives the jobs the image that it gives the service.
resource "google_cloud_run_v2_job_iam_member" "deploy_updates" {
  for_each = google_cloud_run_v2_job.job

  name     = each.value.name
  location = each.value.location
  role     = "roles/run.developer"
  member   = google_service_account.deploy.member
}

resource "google_service_account_iam_member" "deploy_acts_as_check" {
  service_account_id = google_service_account.check.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deploy.member
}

# The checkpoints of the backfill: ids, counts and fingerprints, no personal data.

resource "google_storage_bucket" "checkpoints" {
  name                        = "${var.project}-segment-checkpoints" # at most 63 characters; a project's id has up to 30
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # only progress is in it

  # A checkpoint is written once a second, and each version would be kept, and paid, for a week.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  # An execution that stopped is continued within days. What is older is of no use: the customers have changed since.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 30
    }
  }

  depends_on = [google_project_service.api]
}

# To replace an object is to delete its last version, so this needs more than objectCreator.
resource "google_storage_bucket_iam_member" "run_writes_checkpoints" {
  bucket = google_storage_bucket.checkpoints.name
  role   = "roles/storage.objectUser"
  member = google_service_account.run.member
}

# The check: an account that may look at what the check looks at, and change nothing.

resource "google_service_account" "check" {
  account_id   = "commercetools-segment-check"
  display_name = "Runs commercetools-segment check, and is the account by which Cloud Scheduler starts it"
  depends_on   = [google_project_service.api]
}

resource "google_secret_manager_secret_iam_member" "check_reads" {
  for_each = google_secret_manager_secret.secret

  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.check.member
}

resource "google_secret_manager_secret_iam_member" "check_reads_mapping" {
  count = var.mapping_secret == null ? 0 : 1

  project   = var.project
  secret_id = var.mapping_secret.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.check.member
}

# roles/pubsub.viewer shows no grants, and roles/iam.securityReviewer shows those of the whole project.
resource "google_project_iam_custom_role" "check" {
  role_id     = "commercetoolsSegmentCheck"
  title       = "commercetools-segment check"
  description = "Looks at a topic or a subscription, and at who may use it"
  permissions = [
    "pubsub.subscriptions.get",
    "pubsub.subscriptions.getIamPolicy",
    "pubsub.topics.get",
    "pubsub.topics.getIamPolicy",
  ]
  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic_iam_member" "check_looks" {
  for_each = { customers = google_pubsub_topic.customers.id, dead_letters = google_pubsub_topic.dead_letters.id }

  topic  = each.value
  role   = google_project_iam_custom_role.check.id
  member = google_service_account.check.member
}

resource "google_pubsub_subscription_iam_member" "check_looks" {
  for_each = { push = google_pubsub_subscription.push.id, dead_letters = google_pubsub_subscription.dead_letters.id }

  subscription = each.value
  role         = google_project_iam_custom_role.check.id
  member       = google_service_account.check.member
}

# The schedule.

resource "google_cloud_run_v2_job_iam_member" "schedule_starts_check" {
  name     = google_cloud_run_v2_job.job["check"].name
  location = google_cloud_run_v2_job.job["check"].location
  role     = "roles/run.invoker"
  member   = google_service_account.check.member
}

resource "google_cloud_scheduler_job" "check" {
  name        = local.job_names["check"]
  description = "Starts the job ${local.job_names["check"]}"
  region      = coalesce(var.scheduler_region, var.region)
  schedule    = var.check_schedule
  time_zone   = "Etc/UTC"

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.job["check"].id}:run"
    oauth_token {
      service_account_email = google_service_account.check.email
    }
  }

  depends_on = [google_project_service.api, google_cloud_run_v2_job_iam_member.schedule_starts_check]
}
