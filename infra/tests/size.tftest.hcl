# The memory and the CPUs that Cloud Run gives.
mock_provider "google" {
  source = "./tests/mocks"
}

run "the_service_and_its_jobs_have_the_memory_that_is_asked_for" {
  variables {
    memory = "6Gi"
    cpus   = 2
  }

  assert {
    condition     = google_cloud_run_v2_service.service.template[0].containers[0].resources[0].limits == tomap({ cpu = "2", memory = "6Gi" })
    error_message = "the service has another size"
  }
  assert {
    condition = alltrue([
      for job in google_cloud_run_v2_job.job : job.template[0].template[0].containers[0].resources[0].limits == tomap({ cpu = "2", memory = "6Gi" })
    ])
    error_message = "a job has another size"
  }
  assert {
    condition     = length(google_storage_bucket.checkpoints.name) - length(var.project) + 30 <= 63
    error_message = "with the longest id of a project the name of the bucket is too long"
  }
}

run "one_cpu_has_no_five_gigabytes" {
  command = plan

  variables {
    memory = "5Gi"
  }

  expect_failures = [google_cloud_run_v2_service.service]
}

run "a_size_that_cloud_run_does_not_have_is_refused" {
  command = plan

  variables {
    memory = "512MB"
    cpus   = 3
  }

  expect_failures = [var.memory, var.cpus]
}
