# The jobs run by what the service runs by, and each may do what it needs alone.
mock_provider "google" {
  source = "./tests/mocks"
}

run "a_job_has_the_image_the_settings_and_the_secrets_of_the_service" {
  variables {
    erasure         = "every"
    orders          = "on"
    mapping_secret  = { secret = "commercetools-mapping", version = 3 }
    secret_versions = { SEGMENT_WRITE_KEY = 2 }
  }

  assert {
    condition     = keys(google_cloud_run_v2_job.job) == ["backfill", "check"]
    error_message = "a job is missing"
  }
  assert {
    condition = alltrue(flatten([
      for job in google_cloud_run_v2_job.job : [
        for e in google_cloud_run_v2_service.service.template[0].containers[0].env :
        contains(job.template[0].template[0].containers[0].env, e)
      ]
    ]))
    error_message = "a job follows other settings than the service, or another version of a secret"
  }
  assert {
    condition = alltrue([
      for job in google_cloud_run_v2_job.job :
      job.template[0].template[0].containers[0].image == google_cloud_run_v2_service.service.template[0].containers[0].image
    ])
    error_message = "a job runs another image than the service"
  }
  assert {
    condition = alltrue([
      for job in google_cloud_run_v2_job.job :
      job.template[0].template[0].volumes[0].secret[0].items[0].version == "3" && job.template[0].template[0].containers[0].volume_mounts[0].mount_path == "/etc/commercetools-segment"
    ])
    error_message = "a job does not follow the mapping file of the service"
  }
  assert {
    condition     = alltrue([for job in google_cloud_run_v2_job.job : job.template[0].template[0].containers[0].command == tolist(["commercetools-segment"])])
    error_message = "a job runs the service in place of the command"
  }
}

# One run for all of these, because each run takes seconds.
run "each_job_may_do_what_it_needs_and_nothing_else" {
  # An execution without arguments.
  assert {
    condition     = contains(google_cloud_run_v2_job.job["backfill"].template[0].template[0].containers[0].args, "--dry-run")
    error_message = "a click on Execute sends every customer"
  }

  # The checkpoints.
  assert {
    condition = one([
      for e in google_cloud_run_v2_job.job["backfill"].template[0].template[0].containers[0].env : e.value if e.name == "BACKFILL_CHECKPOINT"
    ]) == "gs://${google_storage_bucket.checkpoints.name}/backfill"
    error_message = "the backfill keeps its progress elsewhere"
  }
  assert {
    condition     = google_storage_bucket_iam_member.run_writes_checkpoints.bucket == google_storage_bucket.checkpoints.name && google_storage_bucket_iam_member.run_writes_checkpoints.role == "roles/storage.objectUser"
    error_message = "the backfill cannot replace its checkpoint, or may do more"
  }
  assert {
    condition     = google_storage_bucket_iam_member.run_writes_checkpoints.member == google_service_account.run.member && google_cloud_run_v2_job.job["backfill"].template[0].template[0].service_account == google_service_account.run.email
    error_message = "another account than the job's writes checkpoints"
  }
  assert {
    condition     = google_storage_bucket.checkpoints.uniform_bucket_level_access && google_storage_bucket.checkpoints.public_access_prevention == "enforced"
    error_message = "the bucket can be made public"
  }
  assert {
    condition     = google_storage_bucket.checkpoints.soft_delete_policy[0].retention_duration_seconds == 0 && length(google_storage_bucket.checkpoints.lifecycle_rule) == 1
    error_message = "every version of a checkpoint is kept"
  }

  # What the check may do.
  assert {
    condition     = alltrue([for permission in google_project_iam_custom_role.check.permissions : can(regex("\\.(get|getIamPolicy)$", permission))])
    error_message = "the check may do more than look"
  }
  assert {
    condition = toset([
      for grant in concat(values(google_pubsub_topic_iam_member.check_looks), values(google_pubsub_subscription_iam_member.check_looks)) :
      "${grant.role} ${grant.member}"
    ]) == toset(["${google_project_iam_custom_role.check.id} serviceAccount:check@shop.iam.gserviceaccount.com"])
    error_message = "another than the check may look"
  }
  assert {
    condition     = google_cloud_run_v2_job.job["check"].template[0].template[0].service_account == "check@shop.iam.gserviceaccount.com"
    error_message = "the check runs as another account"
  }
  assert {
    condition = {
      for e in google_cloud_run_v2_job.job["check"].template[0].template[0].containers[0].env : e.name => e.value if startswith(e.name, "PUBSUB_")
    } == { PUBSUB_TOPIC = google_pubsub_topic.customers.id, PUBSUB_SUBSCRIPTION = google_pubsub_subscription.push.id }
    error_message = "the check looks at other resources"
  }

  # The schedule.
  assert {
    condition     = google_cloud_scheduler_job.check.http_target[0].uri == "https://run.googleapis.com/v2/projects/shop/locations/europe-west1/jobs/commercetools-segment-check:run"
    error_message = "the schedule starts another job"
  }
  assert {
    condition     = google_cloud_run_v2_job_iam_member.schedule_starts_check.name == "commercetools-segment-check" && google_cloud_run_v2_job_iam_member.schedule_starts_check.role == "roles/run.invoker"
    error_message = "the schedule may not start the check"
  }
  assert {
    condition     = google_cloud_run_v2_job_iam_member.schedule_starts_check.member == "serviceAccount:${google_cloud_scheduler_job.check.http_target[0].oauth_token[0].service_account_email}"
    error_message = "the schedule starts it as an account that may not"
  }

  # The alert.
  assert {
    condition     = length(google_monitoring_alert_policy.check_failed.notification_channels) == 1
    error_message = "nobody learns that the check failed"
  }
  assert {
    condition     = alltrue([for c in google_monitoring_alert_policy.check_failed.conditions : strcontains(try(c.condition_threshold[0].filter, c.condition_absent[0].filter), "\"${google_cloud_run_v2_job.job["check"].name}\"")])
    error_message = "the alert looks at another job"
  }
  assert {
    condition     = length(split(",", split(" ", google_cloud_scheduler_job.check.schedule)[1])) >= 2 && one([for c in google_monitoring_alert_policy.check_failed.conditions : c.condition_absent[0].duration if length(c.condition_absent) > 0]) == "84600s"
    error_message = "the alert would open each day, before the check runs"
  }

  # The build.
  assert {
    condition     = toset(values(google_cloud_run_v2_job_iam_member.deploy_updates)[*].name) == toset(["commercetools-segment-backfill", "commercetools-segment-check"])
    error_message = "the build cannot give a job its image"
  }
}

run "a_backfill_is_split_and_goes_on_for_a_day" {
  variables {
    backfill_tasks       = 10
    backfill_parallelism = 3
  }

  assert {
    condition     = google_cloud_run_v2_job.job["backfill"].template[0].task_count == 10 && google_cloud_run_v2_job.job["backfill"].template[0].parallelism == 3
    error_message = "the backfill has not the tasks that were asked for"
  }
  assert {
    condition     = google_cloud_run_v2_job.job["backfill"].template[0].template[0].timeout == "86400s"
    error_message = "a task of a backfill ends before a day is over"
  }
  assert {
    condition     = google_cloud_run_v2_job.job["check"].template[0].task_count == 1
    error_message = "the check runs several times at once"
  }
}

run "without_an_api_client_there_is_no_backfill" {
  variables {
    commercetools = null
  }

  assert {
    condition     = keys(google_cloud_run_v2_job.job) == ["check"]
    error_message = "there is a job that can read nothing"
  }
}

run "half_a_task_is_none" {
  command = plan

  variables {
    backfill_tasks = 2.5
  }

  expect_failures = [var.backfill_tasks]
}
