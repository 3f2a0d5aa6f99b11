# Where Pub/Sub may store messages.
mock_provider "google" {
  source = "./tests/mocks"
}

run "messages_are_stored_in_the_region_of_the_service" {
  assert {
    condition = alltrue([
      for topic in [google_pubsub_topic.customers, google_pubsub_topic.dead_letters] :
      toset(topic.message_storage_policy[0].allowed_persistence_regions) == toset(["europe-west1"])
    ])
    error_message = "a message may be stored in another region"
  }
}

run "the_shop_chooses_the_regions" {
  variables {
    message_regions = ["europe-west1", "europe-west4"]
  }

  assert {
    condition = alltrue([
      for topic in [google_pubsub_topic.customers, google_pubsub_topic.dead_letters] :
      toset(topic.message_storage_policy[0].allowed_persistence_regions) == toset(["europe-west1", "europe-west4"])
    ])
    error_message = "the regions are not those that were chosen"
  }
}

run "none_means_no_restriction" {
  variables {
    message_regions = []
  }

  assert {
    condition = alltrue([
      for topic in [google_pubsub_topic.customers, google_pubsub_topic.dead_letters] : length(topic.message_storage_policy) == 0
    ])
    error_message = "there is a restriction that nobody chose"
  }
}

run "images_stay_where_they_are_when_the_service_moves" {
  variables {
    registry_region = "europe-west4"
  }

  assert {
    condition     = google_artifact_registry_repository.images.location == "europe-west4" && google_cloud_run_v2_service.service.location == "europe-west1"
    error_message = "a move would delete the images"
  }
}
