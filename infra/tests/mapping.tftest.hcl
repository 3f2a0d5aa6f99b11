# The shop's mapping file has one place, and a revision has one version of it.
mock_provider "google" {
  source = "./tests/mocks"
}

run "a_file_in_the_image_is_a_setting_alone" {
  variables {
    mapping_file = "/app/mapping.toml"
  }

  assert {
    condition = [
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value if e.name == "MAPPING_FILE"
    ] == ["/app/mapping.toml"]
    error_message = "MAPPING_FILE is not the file in the image"
  }
  assert {
    condition     = length(google_cloud_run_v2_service.service.template[0].volumes) == 0
    error_message = "a volume would hide the file in the image"
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.run_reads_mapping) == 0
    error_message = "the run account may read a secret that it does not need"
  }
  assert {
    condition     = endswith(google_cloud_run_v2_service.service.template[0].containers[0].image, "/shop:latest")
    error_message = "a new service starts with an image that has no mapping file"
  }
}

run "without_a_mapping_file_there_is_no_setting_and_no_volume" {
  assert {
    condition     = !contains(google_cloud_run_v2_service.service.template[0].containers[0].env[*].name, "MAPPING_FILE")
    error_message = "there is a MAPPING_FILE that nobody asked for"
  }
  assert {
    condition     = length(google_cloud_run_v2_service.service.template[0].volumes) == 0
    error_message = "there is a volume that nobody asked for"
  }
}

run "a_secret_is_mounted_in_one_version" {
  variables {
    mapping_secret = { secret = "commercetools-mapping", version = 3 }
  }

  assert {
    condition = [
      for v in google_cloud_run_v2_service.service.template[0].volumes : [v.secret[0].secret, v.secret[0].items[0].version, v.secret[0].items[0].path]
    ] == [["commercetools-mapping", "3", "mapping.toml"]]
    error_message = "the volume is not the version that was asked for"
  }
  assert {
    condition = [
      for m in google_cloud_run_v2_service.service.template[0].containers[0].volume_mounts : "${m.mount_path}/mapping.toml" if m.name == "mapping"
      ] == [
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.value if e.name == "MAPPING_FILE"
    ]
    error_message = "MAPPING_FILE is not where the secret is mounted"
  }
  assert {
    condition = [
      for m in google_secret_manager_secret_iam_member.run_reads_mapping : [m.secret_id, m.role, m.member]
    ] == [["commercetools-mapping", "roles/secretmanager.secretAccessor", google_service_account.run.member]]
    error_message = "not the run account alone may read the mapping, or it may do more"
  }
}

run "latest_is_refused" {
  command = plan

  variables {
    mapping_secret = { secret = "commercetools-mapping", version = "latest" }
  }

  expect_failures = [var.mapping_secret]
}

run "a_path_of_a_secret_is_refused" {
  command = plan

  variables {
    mapping_secret = { secret = "projects/shop/secrets/commercetools-mapping", version = 1 }
  }

  expect_failures = [var.mapping_secret]
}

run "a_relative_path_is_refused" {
  command = plan

  variables {
    mapping_file = "mapping.toml"
  }

  expect_failures = [var.mapping_file]
}

run "both_places_at_once_are_refused" {
  command = plan

  variables {
    mapping_file   = "/app/mapping.toml"
    mapping_secret = { secret = "commercetools-mapping", version = 1 }
  }

  expect_failures = [google_cloud_run_v2_service.service]
}

run "suppression_has_its_token_without_erasure" {
  variables {
    suppresses_withdrawn = true
  }

  assert {
    condition     = contains(keys(google_secret_manager_secret.secret), "SEGMENT_PUBLIC_API_TOKEN")
    error_message = "the service cannot suppress anybody"
  }
}
