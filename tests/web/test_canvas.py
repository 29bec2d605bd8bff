"""The canvas in a browser, through nginx against two instances."""


def test_a_workflow_is_built_with_the_mouse_deployed_run_and_lights_up(cluster, play):
    play("canvas-mouse", cluster)


def test_a_workflow_is_built_by_keys_alone_deployed_run_and_lights_up(cluster, play):
    play("canvas-keys", cluster)


def test_two_people_at_two_instances_build_a_workflow_together_and_lose_nothing(cluster, play):
    play("canvas-together", cluster)


def test_many_nodes_are_drawn_simply_from_afar_and_follow_the_pointer_at_any_distance(cluster, play):
    play("canvas-many", cluster)
