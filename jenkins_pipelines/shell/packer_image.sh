
look_up_programs
[ "`option kitchen`" = never ] || copy_arguments for_kitchen

begin_stage RunBerksVendor 'Vendoring the cookbooks' "$state_of_build"
vendor_cookbooks
end_stage 0 succeeded

begin_stage RunPacker 'Running packer' 25
run_packer
upload_packer_files
report_references
end_stage 0 succeeded 50

begin_stage KitchenTest 'Testing the image' 75
test_image
end_stage 0 succeeded

begin_stage DockerClean 'Removing the images from the agent' 95
clean_docker
